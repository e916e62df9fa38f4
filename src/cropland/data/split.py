"""Which chips train and which validate: whole blocks of ground, with a gap between the two sides.

Neighbouring pixels resemble each other, so chips drawn at random flatter a model (Roberts et al. 2017,
doi:10.1111/ecog.02881). Chips within half a chip of one another form a cluster; each cluster is cut into square blocks;
blocks are drawn until the wanted share validates; training chips too near to a validation chip are left out.
"""

from collections.abc import Sequence
from hashlib import sha256

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cropland.errors import ChipError

__all__ = ["parse_split", "split"]

GAP = 0.5  # of a chip's edge: chips on a common grid keep at least one chip between the sides
BLOCK = 8  # chips along a block's edge: about a tenth of the chips is lost in the gap at a share of 0.2
DRAWS = 16  # the draw that loses fewest chips is taken

Footprints = np.ndarray  # shapely polygons in one plane
Pairs = Int[np.ndarray, "2 pair"]


def parse_split(text: str) -> float:
    """Read `train`, `validation` or `validation=0.2` as the share of chips that validate.

    Raises:
        ChipError: anything else came.
    """
    name, _, share = text.partition("=")
    try:
        value = {"train": 0.0, "validation": 1.0}[name] if not share else float(share)
    except (KeyError, ValueError):
        value = -1.0
    if not 0 <= value <= 1 or (share and name != "validation"):
        raise ChipError(f"--split {text}: give train, validation, or a share such as validation=0.2")
    return value


def split(chips: gpd.GeoDataFrame, *, validation: float, earlier: gpd.GeoDataFrame | None = None) -> gpd.GeoDataFrame:
    """Set the columns `split` and `block` and leave out the chips in the gap.

    Chips of the two sides are at least half a chip apart, whatever scenes they come from, also from those in `earlier`.
    The same chips give the same answer in any order.

    Args:
        chips: rows of a chip folder's index; `geometry` in any CRS, or missing where a scene has none.
        validation: share of the chips that validate, 0..1.
        earlier: rows that are in the folder already and keep their side.

    Raises:
        ChipError: the chips are so few that one side would be empty.
    """
    chips = chips.sort_values("id", ignore_index=True)
    known = chips if earlier is None else pd.concat([chips, earlier], ignore_index=True)
    places = _places(known)
    pairs = _near(places)
    inside = (pairs < len(chips)).all(axis=0)
    blocks = _blocks(chips["source"], places[: len(chips)], pairs[:, inside], wanted=_blocks_wanted(validation))
    fixed = np.array([], bool) if earlier is None else (earlier["split"] == "validation").to_numpy()
    draws = [_draw(blocks, validation, seed, fixed, pairs) for seed in range(DRAWS)]
    validates, kept = min(draws, key=lambda draw: _lost(*draw, validation))
    if earlier is None and 0 < validation < 1 and len({*validates[kept]}) < 2:
        raise ChipError(
            f"{len(chips)} chips cannot be split into train and validation with a gap between them: "
            "give more scenes or a smaller --size, or put all on one side with --split train"
        )
    return chips.assign(split=np.where(validates, "validation", "train"), block=blocks)[kept]


def _places(chips: gpd.GeoDataFrame) -> Footprints:
    """Footprints in one plane: Mercator, which keeps shapes; a scene without a CRS lies on an island of its own."""
    ground = chips.geometry.to_crs(3857).to_numpy().copy()
    adrift = chips[chips.geometry.isna()]
    island = 1e8 * (1 + pd.factorize(adrift["source"])[0])
    left, top = adrift["col"] + island, adrift["row"]
    ground[chips.geometry.isna()] = shapely.box(left, top, left + adrift["width"], top + adrift["height"])
    return ground


def _edge(places: Footprints) -> np.ndarray:
    return np.sqrt(shapely.area(places))


def _near(places: Footprints) -> Pairs:
    """Pairs of chips that touch, overlap or lie within the gap of each other, in both orders."""
    found = shapely.STRtree(places).query(places, predicate="dwithin", distance=GAP * _edge(places))
    return np.hstack([found, found[::-1]])


def _blocks_wanted(validation: float) -> int:
    return max(2, round(0.5 / max(validation, 0.01)))


def _blocks(sources: pd.Series, places: Footprints, pairs: Pairs, *, wanted: int) -> np.ndarray:
    """The name of each chip's block; blocks are halved until there are enough of them to draw from."""
    count = len(places)
    links = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(count, count))
    cluster = pd.Series(connected_components(links, directed=False)[1])
    centre = pd.DataFrame(shapely.get_coordinates(shapely.centroid(places)), columns=["x", "y"])
    edge = pd.Series(_edge(places)).groupby(cluster).transform("median")
    offset = (centre - centre.groupby(cluster).transform("min")).div(edge, axis=0)
    first = sources.reset_index(drop=True).groupby(cluster).transform("min")
    chips_along = BLOCK
    while True:
        cell = (offset / chips_along + 1e-6).astype(int)
        names = (first + "/" + cell["y"].astype(str) + "/" + cell["x"].astype(str)).to_numpy(object)
        if chips_along == 1 or len({*names}) >= wanted:
            return names
        chips_along //= 2


def _draw(
    blocks: np.ndarray, validation: float, seed: int, fixed: Bool[np.ndarray, " earlier"], pairs: Pairs
) -> tuple[np.ndarray, np.ndarray]:
    """Which chips validate and which are kept, for one order of the blocks."""
    validates = np.isin(blocks, _chosen(blocks, validation, seed, at_least_one=not len(fixed)))
    return validates, _apart(validates, fixed, pairs)


def _chosen(blocks: np.ndarray, validation: float, seed: int, *, at_least_one: bool) -> Sequence[str]:
    names, sizes = np.unique(blocks.astype(str), return_counts=True)
    # A hash and not a random generator: the order stays the same in every version of every library.
    order = np.argsort([sha256(f"{seed}:{name}".encode()).hexdigest() for name in names])
    chosen: list[str] = []
    missing = validation * len(blocks)
    for name, size in zip(names[order], sizes[order], strict=True):
        if size / 2 <= missing or (at_least_one and validation and not chosen):
            chosen.append(name)
            missing -= size
    return chosen


def _apart(validates: np.ndarray, fixed: np.ndarray, pairs: Pairs) -> Bool[np.ndarray, " chip"]:
    """Keep what stays apart: earlier chips keep their side, then new validation chips, then training chips."""
    count = len(validates)
    side = np.concatenate([validates, fixed])
    one, other = pairs[:, side[pairs[0]] != side[pairs[1]]]
    kept = np.ones(len(side), bool)
    kept[one[(one < count) & (other >= count)]] = False
    kept[one[~side[one] & (one < count) & kept[other]]] = False
    return kept[:count]


def _lost(validates: np.ndarray, kept: np.ndarray, validation: float) -> float:
    """Chips lost in the gap, and chips more or fewer than wanted; a draw with an empty side comes last."""
    empty = 0 < validation < 1 and len({*validates[kept]}) < 2
    return float((~kept).sum() + abs(validates.sum() - validation * len(kept)) + empty * len(kept))
