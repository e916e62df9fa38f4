"""Which file was measured: its name and its hash."""

import hashlib
from pathlib import Path

from cropland.evaluation.findings import hashed


def test_a_file_is_named_by_its_way_from_the_folder_that_was_given(tmp_path: Path):
    path = tmp_path / "maps" / "one" / "mask.tif"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert hashed(path) == {"name": "mask.tif", "bytes": 3, "sha256": digest}
    assert hashed(path, folders=[tmp_path / "other", tmp_path / "maps"])["name"] == "maps/one/mask.tif"
    assert hashed(path, folders=[tmp_path / "maps" / "one"])["name"] == "one/mask.tif"
