"""Sensors: their bands in order, the producers' names for these, and the constants of their numbers."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from cropland.errors import SceneError

__all__ = ["Band", "Sensor", "load_sensor", "sensor_names", "sensors"]


@dataclass(frozen=True)
class Band:
    """A band: its common name (STAC eo), the producer's own names for it, and its wavelengths in micrometres."""

    name: str
    aliases: tuple[str, ...]
    wavelength_um: tuple[float, float]
    pixel_m: float


@dataclass(frozen=True)
class Sensor:
    """A sensor, or a product level of one.

    layouts: band names in the usual orders of its files; a scene without band names takes the one of its number of
    bands. file_names: a pattern that only the names of its files match. scale and offset: reflectance =
    scale x number + offset, for products that fix it.
    """

    name: str
    title: str
    source: str
    bands: tuple[Band, ...]
    layouts: tuple[tuple[str, ...], ...]
    file_names: str | None
    nodata: float | None
    scale: float | None
    offset: float

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """Common name by lower-case producer's name."""
        return {alias.lower(): band.name for band in self.bands for alias in (*band.aliases, band.name)}

    def layout(self, count: int) -> tuple[str, ...] | None:
        """Names of the bands of a file with `count` of them, if that is a usual number."""
        return next((layout for layout in self.layouts if len(layout) == count), None)


def sensor_names() -> tuple[str, ...]:
    """Names of the sensors on the shelf."""
    shelf = files("cropland") / "sensors"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in shelf.iterdir() if entry.name.endswith(".toml")))


@cache
def sensors() -> tuple[Sensor, ...]:
    """All sensors on the shelf."""
    return tuple(map(load_sensor, sensor_names()))


@cache
def load_sensor(name: str) -> Sensor:
    """The sensor of that name.

    Raises `SceneError` for a name that is not on the shelf.
    """
    if name not in sensor_names():
        raise SceneError(
            "unknown sensor {name!r}; known are {sensor_names}", name=name, sensor_names=", ".join(sensor_names())
        )
    text = (files("cropland") / "sensors" / f"{name}.toml").read_text(encoding="utf-8")
    return _sensor(name, tomllib.loads(text))


def _sensor(name: str, table: Mapping[str, Any]) -> Sensor:
    bands = tuple(
        Band(band["name"], tuple(band["aliases"]), tuple(band["wavelength_um"]), band.get("pixel_m", table["pixel_m"]))
        for band in table["bands"]
    )
    return Sensor(
        name=name,
        title=table["title"],
        source=table["source"],
        bands=bands,
        layouts=(tuple(band.name for band in bands), *map(tuple, table.get("layouts", ()))),
        file_names=table.get("file_names"),
        nodata=table.get("nodata"),
        scale=table.get("scale"),
        offset=table.get("offset", 0),
    )
