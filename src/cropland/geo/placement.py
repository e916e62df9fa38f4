"""Where a scene lies: one grid for all of its files, and the size of its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.io import DatasetReader

from cropland.errors import GridError
from cropland.geo.crs import check_frames, geometric_mean, pixel_edges_m, usable_crs, user_crs
from cropland.geo.datasets import dataset, reading
from cropland.geo.remote import ImageFile, Remote
from cropland.language import _, said

__all__ = ["Placement", "place"]


@dataclass(frozen=True)
class Placement:
    """The grid of a scene, the edge of its pixels in metres at the centre, and what was assumed."""

    grid: GeoBox
    pixel_m: float
    notes: tuple[str, ...]


def place(files: Sequence[ImageFile], *, crs: str | None, pixel_m: float | None, shift: bool) -> Placement:
    """Place a scene.

    Raises `GridError` when its files have different grids, or when it has none and neither a CRS nor a pixel size is
    given.
    """
    first = dataset(files[0])
    _check_same(files, first)
    with reading(files[0]):
        own = usable_crs(first.crs.to_wkt()) if first.crs else None
    if (own or crs) and not first.transform.is_identity:
        return _on_earth(first, own, crs=crs, pixel_m=pixel_m, shift=shift)
    if pixel_m is None:
        raise GridError(_no_grid(files[0], first))
    if not pixel_m > 0:
        raise GridError(_("--pixel-m {pixel_m} is not a size; give the edge of a pixel in metres", pixel_m=pixel_m))
    note = said(
        "No coordinate reference system: mapped in pixel space, with pixels of {pixel_m:g} m as given.", pixel_m=pixel_m
    )
    return Placement(_pixel_space(first), pixel_m, (note,))


def _on_earth(
    file: DatasetReader, own: CRS | None, *, crs: str | None, pixel_m: float | None, shift: bool
) -> Placement:
    used = user_crs(crs) if crs else own
    assert used is not None
    notes = []
    if crs and own and own != used:
        check_frames(own, used, shift=shift)
        notes.append(said("{crs} as given, in place of the file's own {name}.", crs=crs, name=own.name))
    row, col = file.height / 2, file.width / 2
    size = geometric_mean(pixel_edges_m(file.transform, used, row=row, col=col))
    if pixel_m is not None:
        notes.append(
            said(
                "The grid says pixels of {size:.4g} m; --pixel-m {pixel_m:g} is for scenes without a grid.",
                size=size,
                pixel_m=pixel_m,
            )
        )
    return Placement(GeoBox(file.shape, file.transform, used.to_wkt()), size, tuple(notes))


def _pixel_space(file: DatasetReader) -> GeoBox:
    # Without a world file QGIS draws row r at y = -r; products on this grid lie on the picture there.
    affine = Affine.scale(1, -1) if file.transform.is_identity else file.transform
    return GeoBox(file.shape, affine, None)


def _check_same(files: Sequence[ImageFile], first: DatasetReader) -> None:
    for path in files[1:]:
        other = dataset(path)
        if other.shape != first.shape or not other.transform.almost_equals(first.transform, first.res[0] * 1e-3):
            raise GridError(
                _(
                    "{name} ({size}) is not on the grid of {name2} ({size2}); give bands of one pixel "
                    "size, or bring them together: gdalbuildvrt -separate -resolution highest scene.vrt "
                    "FILE...",
                    name=path.name,
                    size=_size(other),
                    name2=files[0].name,
                    size2=_size(first),
                )
            )


def _size(file: DatasetReader) -> str:
    return _("{width} x {height} pixels of {res:g}", width=file.width, height=file.height, res=file.res[0])


def _no_grid(path: ImageFile, file: DatasetReader) -> str:
    """What mends a scene without a place on Earth."""
    out = f"{path.stem}_map.tif" if isinstance(path, Remote) else path.with_name(f"{path.stem}_map.tif")
    if file.rpcs is not None:
        zone = _utm(file.rpcs.long_off, file.rpcs.lat_off)
        return _(
            "{name} is a raw delivery with RPCs and no grid; make it a map first: gdalwarp -rpc "
            "-t_srs {zone} {path} {out} (add -to RPC_DEM=dem.tif where the ground is not flat)",
            name=path.name,
            zone=zone,
            path=path,
            out=out,
        )
    points, system = file.gcps
    if points:
        target = f" -t_srs EPSG:{system.to_epsg()}" if system and system.to_epsg() else ""
        return _(
            "{name} has ground control points and no grid; make it a map first: gdalwarp{target} {path} {out}",
            name=path.name,
            target=target,
            path=path,
            out=out,
        )
    if file.transform.is_identity:
        return _(
            "{name} has no grid; give the size of its pixels with --pixel-m METRES to map it in pixel space",
            name=path.name,
        )
    return _(
        "{name} has no coordinate reference system; give --crs EPSG:CODE, or the pixel size with --pixel-m",
        name=path.name,
    )


def _utm(longitude: float, latitude: float) -> str:
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + min(60, int((longitude + 180) // 6) + 1)}"
