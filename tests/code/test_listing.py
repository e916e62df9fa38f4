"""What a notebook offers."""

from pathlib import Path

from cropland.code.listing import listing
from notebooks import write_notebook


def test_candidates_with_the_cells_that_they_need(tmp_path: Path):
    path = write_notebook(
        tmp_path / "a.ipynb",
        "#md words",
        "!ls\nimport torch.nn as nn\nwidth = 8",
        "def helper(x):\n    return width * x",
        "class Plain:\n    pass",
        "class Net(nn.Module):\n    def forward(self, x):\n        return helper(x)",
        "print(Net())\n",
        "broken (",
        "class Wider(Net): pass",
    )
    told = listing(path)
    assert [(each.name, each.kind, each.cells, each.lines) for each in told.candidates] == [
        ("Net", "network", (2, 3, 5), 7),
        ("Wider", "network", (2, 3, 5, 8), 8),
        ("Plain", "class", (4,), 2),
        ("helper", "function", (2, 3), 3),
    ]
    uses = {each.number: each for each in told.cells}
    assert (uses[2].first, uses[2].runs, uses[2].statements) == ("!ls", 2, 3)
    assert (uses[6].runs, uses[6].statements) == (0, 1)
    assert "cell 7, line 1" in uses[7].fault
