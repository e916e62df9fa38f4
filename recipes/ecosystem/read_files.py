"""Read what `cropland map` wrote with the programs that others use: python read_files.py MAP, one line of JSON each."""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

Told = tuple[str, str, bool | None]  # with what, what was seen, whether it is right; None: not tried


def main(folder: Path) -> None:
    """Every check, one after the other; one that fails does not keep the others."""
    for check in (geopandas_reads, duckdb_reads, duckdb_spatial, cogs_are_valid, onnx_agrees, stac_is_valid):
        try:
            program, seen, right = check(folder)
        except Exception as error:  # noqa: BLE001  # somebody else's program may fail in any way
            program, seen, right = "", f"{type(error).__name__}: {str(error).splitlines()[0]}", False
        print(
            json.dumps(
                {
                    "check": str(check.__doc__),
                    "with": program,
                    "seen": seen,
                    "right": None if right is None else bool(right),
                },
                ensure_ascii=False,
            )
        )


def geopandas_reads(folder: Path) -> Told:
    """parcels.parquet in geopandas, as many parcels and hectares as parcels.gpkg"""
    import geopandas

    one, other = geopandas.read_parquet(folder / "parcels.parquet"), geopandas.read_file(folder / "parcels.gpkg")
    right = len(one) == len(other) and abs(one["area"].sum() - other["area"].sum()) < 1e-6
    return f"geopandas {version('geopandas')}", f"{len(one)} parcels, {one['area'].sum():.2f} ha, {one.crs.name}", right


def duckdb_reads(folder: Path) -> Told:
    """parcels.parquet in DuckDB: parcels, sum of their areas"""
    import duckdb

    connection = duckdb.connect()
    count, area = connection.execute(f"select count(*), sum(area) from '{folder / 'parcels.parquet'}'").fetchall()[0]
    return f"duckdb {version('duckdb')}", f"{count} parcels, {area:.2f} ha", count > 0


def duckdb_spatial(folder: Path) -> Told:
    """parcels.parquet in DuckDB's spatial extension: areas of polygons"""
    import duckdb

    connection = duckdb.connect()
    try:
        connection.execute("install spatial; load spatial")
    except duckdb.IOException:
        return f"duckdb {version('duckdb')}", "the extension could not be fetched", None
    ((area,),) = connection.execute(f"select sum(st_area(geometry)) from '{folder / 'parcels.parquet'}'").fetchall()
    return f"duckdb {version('duckdb')}", f"{area:g} square degrees", area > 0


def cogs_are_valid(folder: Path) -> Told:
    """probability.tif and mask.tif are cloud-optimised GeoTIFFs, strictly"""
    from rio_cogeo.cogeo import cog_validate

    found = {name: cog_validate(folder / f"{name}.tif", strict=True) for name in ("probability", "mask")}
    faults = [fault for valid, errors, warnings in found.values() for fault in (*errors, *warnings)]
    right = all(valid for valid, _, _ in found.values()) and not faults
    return f"rio-cogeo {version('rio-cogeo')}", "; ".join(faults) or "valid", right


def onnx_agrees(folder: Path) -> Told:
    """the network that ships, exported to ONNX, in onnxruntime: largest difference of a logit at two sizes"""
    import onnxruntime
    import torch

    from cropland.model import Model, default_model

    network = Model.load(default_model()).network()
    sizes = {2: torch.export.Dim("height", min=64), 3: torch.export.Dim("width", min=64)}
    with TemporaryDirectory() as place:
        path = Path(place) / "network.onnx"
        example = (torch.zeros(1, 3, 160, 192),)
        program = torch.onnx.export(network, example, dynamo=True, dynamic_shapes=(sizes,), verbose=False)
        program.save(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        worst = max(_difference(network, session, size) for size in ((160, 192), (224, 128)))
    return f"onnxruntime {version('onnxruntime')}, onnx {version('onnx')}", f"{worst:.1e}", worst < 1e-3


def _difference(network: Callable, session: object, size: tuple[int, int]) -> float:
    import torch

    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    (came,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        return float((torch.from_numpy(came) - network(image)).abs().max())


def stac_is_valid(folder: Path) -> Told:
    """the STAC item of the model that ships, read by pystac: id, extension, asset"""
    import pystac

    from cropland.model import Model, default_model
    from cropland.writers.stac import write_model_item

    with TemporaryDirectory() as place:
        path = Path(place) / "model.json"
        write_model_item(Model.load(default_model()).header(), default_model(), path)
        item = pystac.Item.from_file(str(path))
    right = bool(item.assets) and any("mlm" in each or "ml-model" in each for each in item.stac_extensions)
    return f"pystac {version('pystac')}", f"{item.id}, assets {', '.join(item.assets)}", right


if __name__ == "__main__":
    main(Path(sys.argv[1]))
