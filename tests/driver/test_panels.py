"""Panels: what is asked of the functions they show, and what is drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from graphc.panels import lines, regions, valley, write
from graphc.runtime.errors import NotAvailableError

POINTS, LABELS = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]]), [0, 1, 1]


def pixels(path: Path) -> np.ndarray:
    """The picture as rows of RGB."""
    from matplotlib.image import imread

    return np.asarray(imread(path))[:, :, :3]


def test_a_picture_has_its_panels_in_rows_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    panels = [
        regions(lambda points: points[:, 0] - 1, POINTS, LABELS, title="where"),
        *valley(
            lambda a, b: a * a + b * b, np.linspace(-1, 1, 9), np.linspace(-1, 1, 7), [(1, 1), (0, 0)], is_surface=True
        ),
        lines(
            {"loss": [3.0, 2.0, 1.0], "other": ([0, 1], [1, 2])}, points=([1], [2]), level=("least", 0.5), is_log=True
        ),
    ]
    first = write(tmp_path / "new" / "one.png", panels, columns=2, title="all")
    second = write(tmp_path / "two.png", panels, columns=2, title="all")
    assert first.read_bytes() == second.read_bytes()
    wide = write(tmp_path / "wide.png", panels)
    assert pixels(first).shape[1] * 2 == pixels(wide).shape[1]


def test_regions_colour_the_side_that_is_decided(tmp_path: Path) -> None:
    """Left of x1 = 1 is red, right of it blue, by a threshold of 5."""
    pytest.importorskip("matplotlib")
    asked = []

    def decide(points: np.ndarray) -> np.ndarray:
        asked.append(points)
        return np.where(points[:, 0] > 1.0, 6.0, 4.0)

    square = np.array([[0.0, 0.0], [2.0, 2.0]])
    picture = pixels(write(tmp_path / "a.png", [regions(decide, square, [0, 1], threshold=5.0, margin=0.5)]))
    assert asked[0].dtype == np.float32
    assert asked[0].min(axis=0).tolist() == [-1.0, -1.0]
    assert asked[0].max(axis=0).tolist() == [3.0, 3.0]
    height, width, _ = picture.shape
    left, right = picture[height // 3, width // 4], picture[height // 3, width * 7 // 8]
    assert left[0] > left[2]
    assert right[2] > right[0]


def test_a_plane_of_one_class_needs_no_boundary(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write(tmp_path / "a.png", [regions(lambda points: np.ones(len(points)), POINTS, LABELS)])


def test_without_matplotlib_panels_are_built_and_a_picture_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    panel = lines({"loss": [1.0]})
    with pytest.raises(NotAvailableError, match="pip install"):
        write(tmp_path / "a.png", [panel])
    assert not (tmp_path / "a.png").exists()
