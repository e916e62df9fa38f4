"""The grid of a scene: its coordinate reference system, and the frames that may be mixed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError
from pyproj.transformer import TransformerGroup
from rasterio.io import DatasetReader
from rasterio.rpc import RPC

from cropland.errors import GridError, Option
from cropland.geo.area import pixel_edge_m
from cropland.geo.reading import ImageHeader, Remote
from cropland.language import Message, _

__all__ = [
    "check_frames",
    "crs_name",
    "grid_of",
    "place",
    "usable_crs",
    "user_crs",
]

# CGCS2000 is ITRF97 at epoch 2000.0 and WGS 84 is kept to ITRF: the same frame to decimetres (GB 22021-2008).
SAME_FRAME = ("World Geodetic System 1984", "WGS 84", "WGS_1984", "China 2000", "CGCS2000", "China_2000")
NEEDS_SHIFT = ("Xian 1980", "Xian_1980", "Beijing 1954", "Beijing_1954", "New Beijing")


def grid_of(source: DatasetReader) -> GeoBox:
    """The grid of an open raster; its CRS is None in pixel space."""
    return GeoBox(source.shape, source.transform, source.crs.to_wkt() if source.crs else None)


@dataclass(frozen=True)
class Placement:
    """The grid of a scene, the edge of its pixels in metres at the centre, and what was assumed."""

    grid: GeoBox
    pixel_m: float
    notes: tuple[str, ...]


def place(headers: Sequence[ImageHeader], *, crs: object, pixel_m: float | None, allow_datum_shift: bool) -> Placement:
    """Place a scene by the headers of its files.

    Raises `GridError` when its files have different grids, or when it has none and neither a CRS nor a pixel size is
    given.
    """
    first = headers[0]
    _check_same(headers, first)
    own = usable_crs(first.crs) if first.crs else None
    is_placed = not first.transform.is_identity
    if is_placed and (used := user_crs(crs) if crs else own):
        return _on_earth(first, own, used, crs=crs, pixel_m=pixel_m, allow_datum_shift=allow_datum_shift)
    if pixel_m is None:
        raise GridError(_no_grid(first))
    if not pixel_m > 0:
        raise GridError("--pixel-m {pixel_m} is not a size; give the edge of a pixel in metres", pixel_m=pixel_m)
    # Without a world file QGIS draws row r at y = -r; products on this grid lie on the picture there.
    affine = first.transform if is_placed else Affine.scale(1, -1)
    note = Message(
        "No coordinate reference system: mapped in pixel space, with pixels of {pixel_m:g} m as given.", pixel_m=pixel_m
    )
    return Placement(GeoBox(first.shape, affine, None), pixel_m, (note,))


def _on_earth(
    file: ImageHeader, own: CRS | None, used: CRS, *, crs: object, pixel_m: float | None, allow_datum_shift: bool
) -> Placement:
    notes = []
    if crs and own and own != used:
        check_frames(own, used, allow_datum_shift=allow_datum_shift)
        notes.append(
            Message(
                "The CRS {crs} is used as given, in place of the file's own {name}.",
                crs=crs if isinstance(crs, str) else crs_name(used),
                name=own.name,
            )
        )
    grid = GeoBox(file.shape, file.transform, used.to_wkt())
    size = pixel_edge_m(grid)
    if pixel_m is not None:
        notes.append(
            Message(
                "The grid says pixels of {size:.4g} m; --pixel-m {pixel_m:g} is for scenes without a grid.",
                size=size,
                pixel_m=pixel_m,
            )
        )
    return Placement(grid, size, tuple(notes))


def _check_same(headers: Sequence[ImageHeader], first: ImageHeader) -> None:
    for other in headers[1:]:
        if other.shape != first.shape or not other.transform.almost_equals(first.transform, first.edges[0] * 1e-3):
            raise GridError(
                "{name} ({size}) is not on the grid of {name2} ({size2}); give bands of one pixel "
                "size, or combine them: gdalbuildvrt -separate -resolution highest scene.vrt "
                "FILE...",
                name=other.path.name,
                size=_size(other),
                name2=first.path.name,
                size2=_size(first),
            )


def _size(file: ImageHeader) -> str:
    height, width = file.shape
    return _("{width} x {height} pixels of {res:g}", width=width, height=height, res=file.edges[0])


def _no_grid(file: ImageHeader) -> Message:
    """What to do about a scene without a place on Earth."""
    path = file.path
    out = f"{path.stem}_map.tif" if isinstance(path, Remote) else path.with_name(f"{path.stem}_map.tif")
    if file.rpc:
        rpc = RPC.from_gdal(file.rpc)
        zone = _utm(rpc.long_off, rpc.lat_off)
        return Message(
            "{name} is a raw delivery with RPCs and no grid; orthorectify it first: gdalwarp -rpc "
            "-t_srs {zone} {path} {out} (add -to RPC_DEM=dem.tif where the ground is not flat)",
            name=path.name,
            zone=zone,
            path=path,
            out=out,
        )
    points, system = file.gcps
    if points:
        target = f" -t_srs EPSG:{system.to_epsg()}" if system and system.to_epsg() else ""
        return Message(
            "{name} has ground control points and no grid; rectify it first: gdalwarp{target} {path} {out}",
            name=path.name,
            target=target,
            path=path,
            out=out,
        )
    if file.transform.is_identity:
        return Message(
            "{name} has no grid; give the size of its pixels with --pixel-m METRES to map it in pixel space",
            name=path.name,
        )
    return Message(
        "{name} has no coordinate reference system; give --crs EPSG:CODE, or the pixel size with --pixel-m",
        name=path.name,
    )


def _utm(longitude: float, latitude: float) -> str:
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + min(60, int((longitude + 180) // 6) + 1)}"


def user_crs(given: object, *, option: str = "--crs") -> CRS:
    """The CRS that a user gave as that option.

    Raises `GridError` if it is not known.
    """
    try:
        return CRS.from_user_input(given)
    except CRSError as error:
        raise GridError(
            "{option} {text!r} is not known; write it as EPSG:32650 or as a file's WKT",
            option=Option(option),
            text=given,
        ) from error


@lru_cache(maxsize=256)
def usable_crs(wkt: str) -> CRS | None:
    """The horizontal CRS of a file; None when it is only local (a drawing's) or damaged."""
    try:
        crs = CRS.from_wkt(wkt)
    except CRSError:
        return None
    horizontal = crs.sub_crs_list[0] if crs.is_compound else crs
    flat = horizontal.to_2d() if len(horizontal.axis_info) == 3 else horizontal
    return flat if flat.is_geographic or flat.is_projected else None


def crs_name(crs: CRS) -> str:
    """The name of a CRS for a person, with its code where it has one."""
    code = crs.to_epsg()
    return f"{CRS(crs).name} (EPSG:{code})" if code else CRS(crs).name


def check_frames(source: CRS, target: CRS, *, allow_datum_shift: bool) -> None:
    """Refuse to mix frames between which no transformation is known.

    Raises `GridError` unless `allow_datum_shift` accepts PROJ's approximation, which may be off by a hundred metres;
    always between systems that no approximation joins: a local one, heights, another celestial body.
    """
    if not _are_joined(source, target):
        raise GridError(
            "{name} and {name2} cannot be transformed into each other; give both in a coordinate reference system "
            "of the Earth, such as EPSG:4326",
            name=crs_name(source),
            name2=crs_name(target),
        )
    ours, theirs = _frame(source), _frame(target)
    if allow_datum_shift or ours == theirs:
        return
    if not (_needs_shift(ours) or _needs_shift(theirs) or _is_ballpark(source, target)):
        return
    raise GridError(
        "{name} and {name2} have different frames ({ours}, {theirs}) and coordinates may be "
        "off by about 100 m; transform with your survey office's parameters first, or "
        "accept the error with --allow-datum-shift",
        name=source.name,
        name2=target.name,
        ours=ours,
        theirs=theirs,
    )


def _frame(crs: CRS) -> str:
    geodetic = crs.geodetic_crs
    datum = geodetic.datum.name if geodetic and geodetic.datum else crs.name
    return "WGS 84" if datum.removeprefix("D_").startswith(SAME_FRAME) else datum


def _needs_shift(frame: str) -> bool:
    return frame.removeprefix("D_").startswith(NEEDS_SHIFT)


@lru_cache(maxsize=64)
def _are_joined(source: CRS, target: CRS) -> bool:
    """Whether both are places on one body, and PROJ knows a transformation, however rough."""
    if source == target:
        return True
    one, other = (usable_crs(crs.to_wkt()) for crs in (source, target))
    return bool(one and other and TransformerGroup(one, other, always_xy=True).transformers)


@lru_cache(maxsize=64)
def _is_ballpark(source: CRS, target: CRS) -> bool:
    """Whether PROJ knows no transformation and would leave the coordinates unchanged."""
    group = TransformerGroup(_plain(source), _plain(target), always_xy=True)
    return all("Ballpark" in step.description for step in group.transformers)


def _plain(crs: CRS) -> CRS:
    # For PROJ, CGCS2000 and WGS 84 are two frames with only a ballpark between them.
    return CRS.from_epsg(4326) if _frame(crs) == "WGS 84" else crs
