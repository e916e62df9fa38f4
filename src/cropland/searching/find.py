"""`cropland find`: the scenes of an area and a time that a STAC API has, as a file that `cropland map` reads."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import shapely
from cyclopts import Parameter
from pyproj import Geod
from rich.console import Console
from rich.table import Table

from cropland.errors import InputError, Option, SceneError, first_line
from cropland.files import write_json
from cropland.geo.imagery import located
from cropland.geo.reading import SECONDS, Remote, fetch, parse_time
from cropland.geo.vectors import read_polygons, to_grid_crs
from cropland.language import _
from cropland.options import PERCENT
from cropland.progress import progress_bar

if TYPE_CHECKING:
    from pystac_client import Client

__all__ = ["FoundItem", "FoundItems", "command", "find"]

PAGE = 100  # items of an answer
SHOWN = 20  # collections that an error lists
ELLIPSOID = Geod(ellps="WGS84")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class FoundItem:
    """A scene of a catalog: its STAC item with absolute addresses, and the share of the area that it covers, 0..1."""

    item: Json
    cover: float

    @property
    def name(self) -> str:
        return str(self.item.get("id"))

    @property
    def cloud(self) -> float | None:
        """The share of the scene under clouds in percent, if the item says it."""
        return (self.item.get("properties") or {}).get("eo:cloud_cover")

    @property
    def day(self) -> str:
        """The date (UTC) as 2024-05-01; empty if the item has none."""
        about = self.item.get("properties") or {}
        time = parse_time(about.get("datetime") or about.get("start_datetime"))
        return f"{time:%Y-%m-%d}" if time else ""


@dataclass(frozen=True, eq=False, repr=False)
class FoundItems:
    """The scenes of an area and a time, the earliest first."""

    items: tuple[FoundItem, ...]

    def save(self, out: str | Path) -> None:
        """Write them as an ItemCollection, which `cropland map` and `open_scenes` read."""
        write_json(Path(out), {"type": "FeatureCollection", "features": [found.item for found in self.items]})

    def table(self) -> Table:
        """For a person."""
        shown = Table(box=None, pad_edge=False)
        for heading in (_("date"), _("scene"), _("cloud"), _("of the area")):
            shown.add_column(heading, justify="left" if len(shown.columns) < 2 else "right")
        for found in self.items:
            cloud = "" if found.cloud is None else f"{found.cloud:.0f} %"
            shown.add_row(found.day, found.name, cloud, f"{100 * found.cover:.0f} %")
        return shown

    def __repr__(self) -> str:
        days = len({found.day for found in self.items})
        return _("scenes: {count}, days: {days}", count=len(self.items), days=days)


def find(
    area: str | Path | Sequence[float],
    *,
    catalog: str,
    collection: str,
    from_: str,
    to: str,
    cloud: float | None = None,
) -> FoundItems:
    """The scenes of a collection that meet an area between two days, both included.

    area: a file of polygons in any CRS, or west, south, east and north in degrees, also as a text "w,s,e,n". catalog:
    the address of a STAC API. from_, to: days, as 2024-04-01. cloud: how much of a scene may lie under clouds, in
    percent, by what its item says; a scene that does not say it is kept.
    Raises `InputError` or one of its kinds for an area or days that cannot be, for a server that does not answer as a
    STAC API does, and where there is no such scene. Source: STAC API 1.0.0, Item Search.
    """
    first, last = _day(from_, "--from"), _day(to, "--to")
    if first > last:
        raise InputError("--from {first} lies after --to {last}; exchange them", first=f"{first}", last=f"{last}")
    place = _area(area)
    with _asking(catalog):
        client = _client(catalog)
        asked = {"collections": [collection], "datetime": f"{first}/{last}", "bbox": place.bounds}
        answers = [(item, _cover(item, place)) for item in _answers(client, asked)]
        items = [FoundItem(_absolute(item, catalog), cover) for item, cover in answers if cover > 0]
        if not items:
            _check_collection(client, collection, catalog)
    searched = {"collection": collection, "first": f"{first}", "last": f"{last}", "bounds": _bounds(place)}
    if not items:
        raise InputError(
            "no scene of {collection} from {first} to {last} meets {bounds}; search a longer time or another area",
            **searched,
        )
    clear = [found for found in items if cloud is None or found.cloud is None or found.cloud <= cloud]
    if not clear:
        raise InputError(
            "each of the {count} scenes of {collection} from {first} to {last} that meet {bounds} has more than "
            "{cloud:g} % of cloud; allow more with --cloud, or search a longer time",
            count=len(items),
            cloud=cloud,
            **searched,
        )
    return FoundItems(tuple(sorted(clear, key=lambda found: (found.day, found.name))))


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            "{option} {text!r} is no day; write it as 2024-04-01", option=Option(option), text=text
        ) from error


def _area(given: str | Path | Sequence[float]) -> shapely.Geometry:
    """The area in longitude and latitude."""
    text = given if isinstance(given, str | Path) else ",".join(map(str, given))
    if isinstance(text, Path) or not re.fullmatch(r"[-+.\deE, ]+", text):
        polygons = to_grid_crs(read_polygons(text), "EPSG:4326", allow_datum_shift=True)  # 100 m are nothing here
        return shapely.union_all(polygons.geometry)
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError as error:
        raise InputError("{text} is no box; write west,south,east,north in degrees", text=text) from error
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise InputError(
            "{text} is no box on the Earth; write west,south,east,north in degrees, from -180 to 180 and -90 to 90",
            text=text,
        )
    return shapely.box(west, south, east, north)


def _bounds(place: shapely.Geometry) -> str:
    return ",".join(f"{edge:.4f}" for edge in place.bounds)


@contextmanager
def _asking(catalog: str) -> Iterator[None]:
    """While a server is asked: what goes wrong becomes one line."""
    try:
        from pystac.errors import STACError
        from pystac_client.errors import ClientTypeError
        from pystac_client.exceptions import APIError
    except ImportError as error:
        raise InputError("to find scenes needs a package: pip install 'cropland[stac]'") from error
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (APIError, ClientTypeError, STACError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SceneError(
            "{catalog} does not answer as a STAC API ({cause}); give the address of its first page",
            catalog=catalog,
            cause=first_line(error),
        ) from error


def _client(catalog: str) -> Client:
    """Raises `SceneError` where no server answers, and for a catalog of files, which cannot be searched."""
    from pystac_client import Client

    fetch(Remote(catalog))  # it says in few words why not, as of a scene
    client = Client.open(catalog, timeout=SECONDS)
    if not client.conforms_to("ITEM_SEARCH"):
        raise SceneError("{catalog} has no search; give the address of a STAC API", catalog=catalog)
    return client


def _answers(client: Client, asked: Mapping[str, Any]) -> Iterator[Json]:
    pages = client.search(limit=PAGE, **asked).pages_as_dicts()
    first: Json = next(pages, {"features": []})
    total = float(first.get("numberMatched") or len(first["features"]))  # few servers say how many there are
    with progress_bar(total=total, rate=lambda speed: _("{rate:.3g} scenes/s", rate=speed), counted=True) as advance:
        for page in chain([first], pages):
            yield from page["features"]
            advance(len(page["features"]))


def _check_collection(client: Client, collection: str, catalog: str) -> None:
    known = [each.id for each in client.get_collections()]
    if known and collection not in known:
        raise InputError(
            "{catalog} has no collection {collection}; it has {known}",
            catalog=catalog,
            collection=collection,
            known=", ".join(known[:SHOWN]) + (" ..." if len(known) > SHOWN else ""),
        )


def _cover(item: Json, place: shapely.Geometry) -> float:
    """The share of the area that the outline of an item covers."""
    outline = shapely.make_valid(shapely.geometry.shape(item["geometry"]))
    return min(1.0, _size(shapely.intersection(outline, place)) / _size(place))


def _size(shape: shapely.Geometry) -> float:
    return abs(float(ELLIPSOID.geometry_area_perimeter(shapely.orient_polygons(shape))[0]))


def _absolute(item: Json, catalog: str) -> Json:
    """The item with the addresses of its files as they are seen from the item itself."""
    links = item.get("links") or ()
    home = Remote(next((link["href"] for link in links if link.get("rel") == "self"), catalog))
    assets = {key: {**asset, "href": str(located(asset["href"], home))} for key, asset in item["assets"].items()}
    return {**item, "assets": assets}


def command(
    area: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    catalog: str,
    collection: str,
    from_: str,
    to: str,
    cloud: Annotated[float | None, PERCENT] = None,
    out: Path = Path("items.json"),
) -> None:
    """Find the scenes of an area and a time in a STAC catalog, for `cropland map`.

    Nothing is downloaded but what the catalog says; the map reads the scenes where they are.

    Example:
        cropland find county.gpkg --catalog https://earth-search.aws.element84.com/v1 --collection sentinel-2-l2a
        --from 2024-04-01 --to 2024-09-30 --cloud 20 --out items.json

    Example:
        cropland map items.json --mosaic --merge-dates mean --out my_maps

    Parameters
    ----------
    area
        A file of polygons, or west,south,east,north in degrees.
    catalog
        The address of a STAC API.
    collection
        The collection in it.
    from_
        The first day, as in 2024-04-01.
    to
        The last day.
    cloud
        How much of a scene may lie under clouds, in percent.
    out
        The file to write: a STAC ItemCollection.
    """
    found = find(area, catalog=catalog, collection=collection, from_=from_, to=to, cloud=cloud)
    found.save(out)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(found.table())
    console.print(f"{out}: {found}")
