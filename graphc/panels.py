"""Panels that show what a model has learnt, and pictures made of them (matplotlib: the extra `pictures`).

    write("runs/gates.png", [regions(decide, points, labels, title="OR"), lines({"loss": history["loss"]})])

A panel is drawn only when a picture is made of it, so that building one needs no matplotlib.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphc.pictures import COLOURS, GRID, INK
from graphc.runtime.errors import NotAvailableError

Array = NDArray[Any]
NEGATIVE, POSITIVE = COLOURS[1], COLOURS[0]
STEPS = 401
"""Points a side at which a function over the plane is asked."""


@dataclass(frozen=True)
class Panel:
    """How to draw on matplotlib's axes.

    projection  "3d" for a surface seen from the side
    size        width and height in inches
    """

    draw: Callable[[Any], None]
    title: str = ""
    projection: str | None = None
    size: tuple[float, float] = (4.4, 4.1)


def write(path: str | os.PathLike[str], panels: Sequence[Panel], *, columns: int = 0, title: str = "") -> Path:
    """A PNG of the panels in rows of `columns` (all in one row), its folder made as needed; returns its path.

    A column is as wide as its widest panel, a row as high as its highest.
    Raises NotAvailableError without matplotlib, OSError if the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise NotAvailableError("pictures need matplotlib: pip install 'graphc[pictures]'") from None
    columns = columns or len(panels)
    widths = [max(panel.size[0] for panel in panels[column::columns]) for column in range(columns)]
    heights = [max(panel.size[1] for panel in panels[row : row + columns]) for row in range(0, len(panels), columns)]
    figure = Figure(figsize=(sum(widths), sum(heights)), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), columns, width_ratios=widths, height_ratios=heights)
    for index, panel in enumerate(panels):
        axes: Any = figure.add_subplot(grid[divmod(index, columns)], projection=panel.projection)
        axes.set_title(panel.title, color=INK, fontsize=11)
        if panel.projection is None:
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        panel.draw(axes)
    if title:
        figure.suptitle(title, color=INK, weight="bold")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, format="png", metadata={"Software": None})
    return target


def regions(
    decide: Callable[[Array], Array],
    points: ArrayLike,
    labels: ArrayLike,
    *,
    title: str = "",
    margin: float = 0.12,
    threshold: float = 0.0,
    names: tuple[str, str] = ("x1", "x2"),
    classes: tuple[str, str] = ("-1", "+1"),
) -> Panel:
    """The plane in two colours by what `decide` says of each point, the boundary, and examples of both classes.

    decide      f32[N, 2] -> values[N]; values above `threshold` are of the second class, and shades show how far
    points      [N, 2]; labels[N]: examples of the second class are those above the mean of the two labels
    margin      of the frame around the points, as a part of their range
    """
    points, labels = np.asarray(points), np.asarray(labels)
    is_second = labels > (labels.max() + labels.min()) / 2

    def draw(axes: Any) -> None:
        axes.grid(visible=False)
        frame = margin * np.ptp(points, axis=0)
        x, y, value = _asked(decide, points.min(axis=0) - frame, points.max(axis=0) + frame)
        distance = value - threshold
        shades = np.where(distance < 0.0, distance / -min(distance.min(), -1e-9), distance / max(distance.max(), 1e-9))
        axes.pcolormesh(x, y, shades, cmap=_two_colours(), vmin=-1.0, vmax=1.0, rasterized=True)
        if distance.min() < 0.0 <= distance.max():
            axes.contour(x, y, distance, levels=[0.0], colors=[INK], linewidths=1.4)
        for chosen, colour, marker, name in ((~is_second, NEGATIVE, "o", 0), (is_second, POSITIVE, "s", 1)):
            style = {"s": 90 if len(points) <= 8 else 26, "edgecolors": "white", "linewidths": 0.8, "zorder": 3}
            axes.scatter(*points[chosen].T, color=colour, marker=marker, label=classes[name], **style)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=9)

    return Panel(draw, title)


def _asked(function: Callable[[Array], Array], low: Array, high: Array) -> tuple[Array, Array, Array]:
    """(x[STEPS], y[STEPS], values[y, x]) of a function of points, over a rectangle."""
    x, y = (np.linspace(low[axis], high[axis], STEPS) for axis in (0, 1))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    return x, y, np.asarray(function(grid), np.float64).reshape(STEPS, STEPS)


def _two_colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("two", ["#e9a99b", "#f8e0da", "#ffffff", "#dbe8f5", "#9dc0e4"])


def valley(
    cost: Callable[[float, float], float],
    x: Array,
    y: Array,
    path: ArrayLike,
    *,
    title: str = "",
    names: tuple[str, str] = ("w1", "w2"),
    is_surface: bool = False,
    best: tuple[float, float] | None = None,
) -> list[Panel]:
    """The cost over two weights as contours with the path of a descent; with `is_surface` a second panel in 3D.

    cost        asked once at every pair of x[N] and y[M]
    path        [steps, 2] of weights, in order; in 3D it runs at the height that `cost` gives it
    best        where the minimum is known to be; without it the end of the path is marked
    """
    height = np.array([[cost(float(a), float(b)) for a in x] for b in y])
    steps = np.asarray(path)

    def contours(axes: Any) -> None:
        levels = np.geomspace(max(height.min(), 1e-9) * 1.001, height.max(), 18)
        axes.contourf(x, y, height, levels=[0.0, *levels], cmap="Blues_r", norm="log" if levels[0] > 1e-6 else None)
        axes.contour(x, y, height, levels=levels, colors=["white"], linewidths=0.5, alpha=0.7)
        style = {"linewidth": 1.3, "marker": "o", "markersize": 2.2} if len(steps) <= 500 else {"linewidth": 0.7}
        axes.plot(*steps.T, color=NEGATIVE, label="descent", **style)
        axes.scatter(*steps[0], color="white", edgecolors=INK, zorder=4, s=36, label="start")
        star, label = (tuple(steps[-1]), "end") if best is None else (best, "minimum")
        axes.scatter(*star, color=COLOURS[4], edgecolors="white", marker="*", zorder=5, s=170, label=label)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        axes.legend(loc="best", framealpha=0.9, fontsize=8)

    def surface(axes: Any) -> None:
        heights = np.array([cost(float(a), float(b)) for a, b in steps])
        axes.computed_zorder = False
        axes.plot_surface(*np.meshgrid(x, y), height, cmap="Blues_r", alpha=0.75, linewidth=0, antialiased=True)
        axes.plot(*steps.T, heights, color=NEGATIVE, linewidth=1.8, marker="o", markersize=2, zorder=10)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        axes.view_init(elev=38, azim=-68)
        axes.set_box_aspect(None, zoom=1.0)

    panels = [Panel(contours, title)]
    return [*panels, Panel(surface, title, "3d")] if is_surface else panels


def lines(
    values: Mapping[str, ArrayLike | tuple[ArrayLike, ArrayLike]],
    *,
    title: str = "",
    names: tuple[str, str] = ("epoch", ""),
    is_log: bool = False,
    points: tuple[ArrayLike, ArrayLike] | None = None,
    level: tuple[str, float] | None = None,
) -> Panel:
    """Named lines: y over 1, 2, ..., or (x, y); examples (x, y) beneath them, a dashed level across."""

    def draw(axes: Any) -> None:
        if points is not None:
            axes.scatter(*points, s=16, color=INK, alpha=0.45, linewidths=0, label="examples")
        for index, (name, one) in enumerate(values.items()):
            x, y = one if isinstance(one, tuple) else (np.arange(1, len(np.asarray(one)) + 1), one)
            axes.plot(x, y, color=COLOURS[index % len(COLOURS)], linewidth=1.7, label=name)
        if level is not None:
            axes.axhline(level[1], color=INK, linewidth=1.0, linestyle="--", label=level[0])
        if not any(isinstance(one, tuple) for one in values.values()):
            axes.xaxis.get_major_locator().set_params(integer=True)
        if is_log:
            axes.set_yscale("log")
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        axes.legend(frameon=False, fontsize=8)

    return Panel(draw, title)
