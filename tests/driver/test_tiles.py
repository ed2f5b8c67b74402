"""Images as tiles of a panel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.panels import Panel, lines, write
from graphc.tiles import mistakes, tiles

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


def drawn(panel: Panel) -> Figure:
    figure = Figure(figsize=panel.size)
    panel.draw(figure.add_subplot())
    return figure


def test_a_tile_has_its_place_its_scale_and_its_name() -> None:
    images = [np.array([[0.0, 1.0], [2.0, 4.0]]), np.array([[-1.0, 3.0]]), np.full((2, 2), 7.0)]
    axes = drawn(tiles(images, columns=2, names=["a", "b", "c"], rows=["first", "second"])).axes[0]
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c", "first", "second"]
    first, second, third = axes.images
    assert first.get_clim() == (0.0, 4.0)
    assert second.get_clim() == (-3.0, 3.0)  # white is 0
    assert third.get_clim()[0] == 7.0
    left, right, bottom, top = second.get_extent()
    assert (right - left, bottom - top) == pytest.approx((1.0, 0.5))  # twice as wide as high
    assert left > first.get_extent()[1]
    assert third.get_extent()[3] > first.get_extent()[2]


def test_one_scale_for_all() -> None:
    images = np.array([[[0.0, 1.0]], [[0.0, 10.0]]])
    axes = drawn(tiles(images, is_shared=True)).axes[0]
    assert {image.get_clim() for image in axes.images} == {(0.0, 10.0)}


def test_mistakes_come_worst_first() -> None:
    probs = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.99, 0.01]])
    labels = np.array([0, 0, 1, 1], np.uint8)
    images = np.arange(16.0).reshape(4, 2, 2)
    panel = mistakes(images, labels, probs)
    axes = drawn(panel).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0, is 1", "1, is 0", "0, is 1"]
    np.testing.assert_array_equal(axes.images[0].get_array(), images[3])
    assert panel.title == "the worst of its 3 mistakes"
    assert mistakes(images, probs.argmax(axis=1), probs).title == "no mistakes"


def test_columns_are_as_wide_as_their_widest_panel(tmp_path: Path) -> None:
    wide, narrow = tiles(np.zeros((12, 3, 3))), lines({"loss": [1.0, 0.5, 0.2]}, title="loss")
    heights = {}
    for columns in (1, 2):
        data = write(tmp_path / "a" / f"{columns}.png", [wide, narrow], columns=columns).read_bytes()
        heights[columns] = [int.from_bytes(data[at : at + 4], "big") for at in (16, 20)]
    assert heights[1][0] == pytest.approx(110 * wide.size[0], abs=2)
    assert heights[2][0] == pytest.approx(110 * (wide.size[0] + narrow.size[0]), abs=2)
    assert heights[1][1] == pytest.approx(110 * (wide.size[1] + narrow.size[1]), abs=2)
