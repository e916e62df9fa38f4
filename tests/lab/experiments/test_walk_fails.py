"""How far a pixel is from an edge."""

import numpy as np

from cropland.lab.experiments.walk_fails import to_edge


def test_the_distance_counts_to_the_nearest_of_the_other_class():
    true = np.zeros((1, 8), bool)
    true[0, :3] = True
    assert to_edge(true).tolist() == [[3, 2, 1, 1, 2, 3, 4, 5]]
