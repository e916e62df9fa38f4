"""The split into chips that train and chips that validate: whole blocks of ground, with a gap between the two sides.

Neighbouring pixels resemble each other, so chips drawn at random flatter a model (Roberts et al. 2017,
doi:10.1111/ecog.02881). Chips within half a chip of one another form a cluster; each cluster is cut into square blocks;
blocks are drawn until the wanted share validates; training chips too near to a validation chip are left out. Of several
draws the best one leaves out few chips and has about the same share of cropland on both sides.
"""

from collections import Counter
from hashlib import sha256
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool, Float64, Int, Shaped
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cropland.errors import ChipError

__all__ = ["parse_split", "split"]

GAP = 0.5  # of a chip's edge: chips on one grid then keep at least a whole chip between the sides
BLOCK = 8  # chips along a block's edge: at a share of 0.2 about a tenth of a large scene is lost in the gap
DRAWS = 16  # of which the best is taken

Footprints = Shaped[np.ndarray, " chip"]  # shapely polygons in one plane
Names = Shaped[np.ndarray, " chip"]
Chosen = Bool[np.ndarray, " chip"]
Pairs = Int[np.ndarray, "2 pair"]


def parse_split(text: str) -> float:
    """The share of chips that validate, from `train`, `validation` or `validation=0.2`.

    Raises `ChipError` for anything else.
    """
    words = {"train": 0.0, "validation": 1.0}
    try:
        share = words[text] if text in words else float(text.removeprefix("validation="))
    except ValueError:
        share = np.nan
    if not 0 <= share <= 1:
        raise ChipError("--split {text}: give train, validation, or a share such as validation=0.2", text=text)
    return share


def split(chips: gpd.GeoDataFrame, *, validation: float, earlier: gpd.GeoDataFrame | None = None) -> gpd.GeoDataFrame:
    """The chips with the columns `split` and `block`, without those in the gap; their order does not matter.

    Chips on different sides are at least half a chip apart, whatever scenes they come from, also from `earlier` ones,
    which keep their side. chips: rows of an index; `geometry` may be missing where a scene has no CRS. validation: the
    share that validates, 0..1. Raises `ChipError` if so few chips come that one side would be empty, or if every one is
    too near to the other side of the earlier ones.
    """
    if not 0 <= validation <= 1:
        raise ChipError("the share that validates is {validation}, expected 0 to 1", validation=validation)
    chips = chips.sort_values("id", ignore_index=True)
    places = _places(chips if earlier is None else pd.concat([chips, earlier], ignore_index=True))
    pairs = _near(places)
    among_new = pairs[:, (pairs < len(chips)).all(axis=0)]
    wanted = max(2, round(min(len(chips), 0.5 / (validation or 1))))
    blocks = _blocks(chips["source"], places[: len(chips)], among_new, wanted=wanted)
    fixed = np.zeros(0, bool) if earlier is None else (earlier["split"] == "validation").to_numpy()
    draws = [_draw(blocks, validation, seed, fixed, pairs) for seed in range(DRAWS)]
    best = min(draws, key=lambda draw: draw.cost(chips["share_cropland"].to_numpy(), validation))
    if best.is_one_sided and earlier is None and 0 < validation < 1:
        raise ChipError(
            "{count} chips cannot be split into train and validation with a gap between them: "
            "give more scenes or a smaller --size, or put all on one side with --split train",
            count=len(chips),
        )
    if earlier is not None and not best.kept.any():
        added, there = pairs[:, (pairs[0] < len(chips)) & (pairs[1] >= len(chips))]
        across = there[best.validates[added] != fixed[there - len(chips)]] - len(chips)
        raise ChipError(
            "no chip of {scenes} can be added, since all touch chips of {earlier} on the other side of the split: "
            "give scenes of other ground, or another --split",
            scenes=_listed(chips["source"]),
            earlier=_listed(earlier["source"].iloc[across]),
        )
    return chips.assign(split=np.where(best.validates, "validation", "train"), block=blocks)[best.kept]


def _listed(names: pd.Series) -> str:
    """Names in alphabetical order, the first five of many."""
    distinct = sorted({*names})
    return ", ".join(distinct[:5]) + (", ..." if len(distinct) > 5 else "")


def _places(chips: gpd.GeoDataFrame) -> Footprints:
    """Footprints in Mercator, which keeps shapes; a scene without a CRS is put far from all others."""
    places: Footprints = chips.geometry.to_crs(3857).to_numpy().copy()
    adrift = chips.geometry.isna().to_numpy()
    left, top, width, height = chips.loc[adrift, ["col", "row", "width", "height"]].to_numpy(float).T
    left = left + 1e8 * (1 + pd.factorize(chips.loc[adrift, "source"])[0])
    places[adrift] = shapely.box(left, top, left + width, top + height)
    return places


def _edges(places: Footprints) -> Float64[np.ndarray, " chip"]:
    edges: np.ndarray = np.sqrt(shapely.area(places))
    return edges


def _near(places: Footprints) -> Pairs:
    """Pairs of chips that touch, overlap or lie within the gap of each other, in both orders."""
    found = shapely.STRtree(places).query(places, predicate="dwithin", distance=GAP * _edges(places))
    return np.hstack([found, found[::-1]])


def _blocks(sources: pd.Series, places: Footprints, pairs: Pairs, *, wanted: int) -> Names:
    """The block of each chip; blocks are halved until there are enough of them to draw from."""
    links = coo_array((np.ones(pairs.shape[1]), tuple(pairs)), shape=(len(places),) * 2)
    cluster = pd.Series(connected_components(links, directed=False)[1])
    centre = pd.DataFrame(shapely.get_coordinates(shapely.centroid(places)), columns=["x", "y"])
    edge = pd.Series(_edges(places)).groupby(cluster).transform("median")
    steps = (centre - centre.groupby(cluster).transform("min")).div(edge, axis=0) + 1e-3  # in chips from the corner
    first = sources.groupby(cluster).transform("min").astype(str)
    # Clusters of one source, such as windows that lie apart, are no block together; the first keeps the plain name.
    number = cluster.groupby(first).transform(lambda its: pd.factorize(its)[0])
    first = first.where(number == 0, first + "#" + number.astype(str))
    for along in (BLOCK, BLOCK // 2, BLOCK // 4, 1):
        cell = (steps // along).astype(int).astype(str)
        blocks: Names = (first + "/" + cell["y"] + "/" + cell["x"]).to_numpy(str)
        if len({*blocks}) >= wanted:
            break
    return blocks


class _Draw(NamedTuple):
    """Which chips validate and which are kept."""

    validates: Chosen
    kept: Chosen

    @property
    def is_one_sided(self) -> bool:
        return len({*self.validates[self.kept]}) < 2

    def cost(self, cropland: Float64[np.ndarray, " chip"], validation: float) -> float:
        """In chips: those in the gap, the surplus or lack on the validation side, and the difference in cropland."""
        chips = len(self.kept)
        if self.is_one_sided:
            return float(3 * chips + (~self.kept).sum())
        validates, trains = (cropland[self.kept & side].mean() for side in (self.validates, ~self.validates))
        return float(
            (~self.kept).sum() + abs(self.validates.sum() - validation * chips) + abs(validates - trains) * chips
        )


def _draw(blocks: Names, validation: float, seed: int, fixed: Bool[np.ndarray, " earlier"], pairs: Pairs) -> _Draw:
    validates = np.isin(blocks, _chosen(blocks, validation, seed, at_least_one=not len(fixed)))
    return _Draw(validates, _apart(validates, fixed, pairs))


def _chosen(blocks: Names, validation: float, seed: int, *, at_least_one: bool) -> list[str]:
    """Blocks that validate, drawn in the order of a hash, which does not change with versions of libraries."""
    sizes = Counter(blocks.tolist())
    chosen: list[str] = []
    missing = validation * len(blocks)
    for name in sorted(sizes, key=lambda name: sha256(f"{seed}:{name}".encode()).digest()):
        if sizes[name] / 2 <= missing or (at_least_one and validation and not chosen):
            chosen.append(name)
            missing -= sizes[name]
    return chosen


def _apart(validates: Chosen, fixed: Bool[np.ndarray, " earlier"], pairs: Pairs) -> Chosen:
    """Which chips stay: earlier ones before all, then validation chips, then training chips near to neither."""
    count = len(validates)
    side = np.concatenate([validates, fixed])
    one, other = pairs[:, side[pairs[0]] != side[pairs[1]]]
    kept = np.ones(len(side), bool)
    kept[one[(one < count) & (other >= count)]] = False
    kept[one[~side[one] & (one < count) & kept[other]]] = False
    return kept[:count]
