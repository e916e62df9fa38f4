"""What goes into the spill in any portions comes out in any order."""

from io import BytesIO

import numpy as np
import shapely

from cropland.mapping.spill import Spill


def test_polygons_come_back_in_any_order() -> None:
    polygons = shapely.buffer(shapely.points(np.arange(9), 0), np.arange(1, 10), quad_segs=3)
    spill = Spill(BytesIO())
    for low, high in ((0, 0), (0, 4), (4, 4), (4, 9)):
        spill.add(polygons[low:high], {"area": shapely.area(polygons[low:high])})
    assert len(spill) == 9
    np.testing.assert_array_equal(spill.figures("area"), shapely.area(polygons))
    order = np.array([7, 0, 8, 3, 3])
    assert shapely.equals_exact(spill.polygons(order), polygons[order]).all()
    assert len(spill.polygons(np.zeros(0, np.int64))) == 0
