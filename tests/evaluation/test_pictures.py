import base64

import numpy as np
from rasterio.io import MemoryFile

from cropland.evaluation.pictures import FALSE, MISSED, RIGHT, as_uri, image, verdict
from cropland.evaluation.score import Picture

SAID = np.array([[1, 1, 0, 0, 255]], np.uint8).repeat(5, axis=0)
TRUE = np.array([[1, 0, 1, 0, 1]], np.uint8).repeat(5, axis=0)


def test_right_false_and_missed_have_colours_of_their_own():
    drawn = verdict(Picture(None, SAID, TRUE)).astype(int)
    strongest = [int(np.argmax(colour)) for colour in (RIGHT, FALSE, MISSED)]
    assert drawn[0, :3].argmax(axis=1).tolist() == strongest == [1, 0, 2]
    assert np.ptp(drawn[:, 3], axis=1).max() == 0, "other land stays grey"


def test_large_pictures_are_made_small():
    rgb = np.zeros((1500, 700, 3), np.uint8)
    picture = Picture(rgb, rgb[:, :, 0], rgb[:, :, 0])
    assert image(picture).shape == verdict(picture).shape == (500, 234, 3)
    assert image(Picture(None, SAID, TRUE)) is None


def test_a_picture_travels_inside_the_page():
    pixels = np.zeros((16, 24, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    kind, _, data = as_uri(pixels).partition(";base64,")
    assert kind == "data:image/jpeg"
    with MemoryFile(base64.b64decode(data)) as memory, memory.open() as file:
        assert np.abs(file.read().transpose(1, 2, 0).astype(int) - pixels).max() < 6
