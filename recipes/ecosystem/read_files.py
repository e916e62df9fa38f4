"""Read what `cropland map` wrote with the programs that others use: python read_files.py MAP, one line of JSON each."""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

SIZES = (160, 192), (224, 128), (95, 70), (161, 333)  # the first is that of the export
Told = tuple[str, str, bool | None]  # with what, what was seen, whether it is right; None: not tried


def main(folder: Path) -> None:
    """Every check, one after the other; one that fails does not keep the others."""
    for check in (
        geopandas_reads,
        duckdb_reads,
        duckdb_spatial,
        gdal_reads,
        cogs_are_valid,
        onnx_agrees,
        stac_is_valid,
    ):
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
    right = len(one) == len(other) and abs(one["area_ha"].sum() - other["area_ha"].sum()) < 1e-6
    return (
        f"geopandas {version('geopandas')}",
        f"{len(one)} parcels, {one['area_ha'].sum():.2f} ha, {one.crs.name}",
        right,
    )


def duckdb_reads(folder: Path) -> Told:
    """parcels.parquet in DuckDB: parcels, sum of their areas"""
    import duckdb

    connection = duckdb.connect()
    count, area = connection.execute(f"select count(*), sum(area_ha) from '{folder / 'parcels.parquet'}'").fetchall()[0]
    return f"duckdb {version('duckdb')}", f"{count} parcels, {area:.2f} ha", count > 0


def duckdb_spatial(folder: Path) -> Told:
    """parcels.parquet in DuckDB's spatial extension: areas of polygons"""
    import duckdb
    import geopandas
    from duckdb_extensions import import_extension

    import_extension("spatial")
    connection = duckdb.connect()
    connection.execute("load spatial")
    ((area,),) = connection.execute(f"select sum(st_area(geometry)) from '{folder / 'parcels.parquet'}'").fetchall()
    known = geopandas.read_file(folder / "parcels.gpkg").geometry
    share = area / known.to_crs(geopandas.read_parquet(folder / "parcels.parquet").crs).area.sum()
    return f"duckdb {version('duckdb')}", f"{share:.6f} of the area in parcels.gpkg", abs(share - 1) < 1e-6


def gdal_reads(folder: Path) -> Told:
    """parcels.parquet in GDAL: parcels"""
    import pyogrio

    program = "GDAL {}.{}.{}".format(*pyogrio.__gdal_version__)
    if "Parquet" not in pyogrio.list_drivers():
        return program, "this GDAL was built without its Parquet driver", None
    count = pyogrio.read_info(folder / "parcels.parquet")["features"]
    return program, f"{count} parcels", count == pyogrio.read_info(folder / "parcels.gpkg")["features"]


def cogs_are_valid(folder: Path) -> Told:
    """probability.tif and mask.tif are cloud-optimised GeoTIFFs, strictly"""
    from rio_cogeo.cogeo import cog_validate

    found = {name: cog_validate(folder / f"{name}.tif", strict=True) for name in ("probability", "mask")}
    faults = [fault for valid, errors, warnings in found.values() for fault in (*errors, *warnings)]
    right = all(valid for valid, _, _ in found.values()) and not faults
    return f"rio-cogeo {version('rio-cogeo')}", "; ".join(faults) or "valid", right


def onnx_agrees(folder: Path) -> Told:
    """the network that ships, exported to ONNX, in onnxruntime: largest difference of a logit at four sizes"""
    import onnxruntime
    import torch

    from cropland.model import ModelFile, default_model

    network = ModelFile.load(default_model()).network()
    sizes = {2: torch.export.Dim("height", min=64), 3: torch.export.Dim("width", min=64)}
    with TemporaryDirectory() as place:
        path = Path(place) / "network.onnx"
        example = (torch.zeros(1, 3, *SIZES[0]),)
        program = torch.onnx.export(network, example, dynamo=True, dynamic_shapes=(sizes,), verbose=False)
        program.save(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        worst = max(_difference(network, session, size) for size in SIZES)
    return f"onnxruntime {version('onnxruntime')}, onnx {version('onnx')}", f"{worst:.1e}", worst < 1e-3


def _difference(network: Callable, session: object, size: tuple[int, int]) -> float:
    import torch

    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    (came,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        return float((torch.from_numpy(came) - network(image)).abs().max())


def stac_is_valid(folder: Path) -> Told:
    """the STAC item of the model that ships, read by pystac, against the core schema that it carries"""
    import pystac
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    from cropland.model import ModelFile, default_model
    from cropland.writers.stac import write_model_item

    with TemporaryDirectory() as place:
        path = Path(place) / "model.json"
        write_model_item(ModelFile.load(default_model()).header(), default_model(), path)
        item = pystac.Item.from_file(str(path))
    JsonSchemaSTACValidator().validate_core(item.to_dict(), pystac.STACObjectType.ITEM, pystac.get_stac_version())
    right = bool(item.assets) and any("mlm" in each or "ml-model" in each for each in item.stac_extensions)
    return f"pystac {version('pystac')}", f"{item.id}, assets {', '.join(item.assets)}", right


if __name__ == "__main__":
    main(Path(sys.argv[1]))
