"""Pictures of a graph view: SVG as text of our own, PNG through matplotlib (the extra `pictures`).

Both formats draw the same boxes and curves, so that one is a preview of the other.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from graphc.ir.layout import Point, layout
from graphc.ir.view import lines
from graphc.runtime.errors import LimitError, NotAvailableError, OptionError

if TYPE_CHECKING:
    from graphc.ir.view import Digraph

MOST_NODES = 1500
"""A picture of more nodes is refused: nobody could read it, and DOT or text serve better."""

COLOURS: dict[str, tuple[str, str]] = {  # family or role -> fill, outline
    "input": ("#cfe4ff", "#2f6fb7"),
    "output": ("#ffffff", "#2f6fb7"),
    "param": ("#ffe2a8", "#b9770e"),
    "slot": ("#fbeed3", "#b99b5e"),
    "state": ("#fbeed3", "#b99b5e"),
    "gradient": ("#fbeed3", "#b99b5e"),
    "hyper": ("#e6e1f3", "#75689c"),
    "step": ("#e6e1f3", "#75689c"),
    "seed": ("#e6e1f3", "#75689c"),
    "const": ("#eef0f3", "#9aa3b2"),
    "elementwise": ("#d9f2d6", "#4b9a45"),
    "reduction": ("#f3d5ee", "#a8489b"),
    "movement": ("#f1f3f6", "#7c8798"),
    "contraction": ("#ffd3cc", "#c8452f"),
    "indexing": ("#c9efee", "#26888a"),
    "window": ("#ffd3cc", "#c8452f"),
    "control": ("#d8dcf7", "#4a57b5"),
    "neural": ("#fbd9e3", "#b8496d"),
    "fused contraction": ("#ffc4b8", "#9c2b17"),
    "fused reduction": ("#ebbfe4", "#7d2f73"),
    "fused": ("#b9e3c3", "#23743a"),
}
OTHER = ("#e3e9f1", "#5b6b84")
INK, FAINT, LINE = "#1d2430", "#5c6675", "#8a94a6"
MARGIN, TITLE, LEGEND = 24.0, 34.0, 34.0
CHARACTER, ROW, PADDING = 6.7, 15.0, 9.0
ARROW = 4.0


@dataclass(frozen=True)
class Box:
    """A node on the page: top left corner, size, colours, and lines of text of which the first is set bold."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    outline: str
    lines: list[str]


@dataclass(frozen=True)
class Page:
    """Everything to be drawn; each curve is a list of points that it passes vertically."""

    title: str
    width: float
    height: float
    boxes: list[Box]
    curves: list[list[Point]]
    legend: list[tuple[str, str, str]]


def draw(graph: Digraph, format: str) -> bytes:
    """The view as the bytes of an `svg` or `png` file."""
    if format not in ("svg", "png"):
        raise OptionError(f"a picture can be svg or png, not `{format}`")
    if graph.number_of_nodes() > MOST_NODES:
        raise LimitError(
            f"a picture of {graph.number_of_nodes()} nodes would not be legible (the limit is {MOST_NODES}); "
            "use the formats text or dot"
        )
    page = compose(graph)
    return svg(page).encode() if format == "svg" else png(page)


def compose(graph: Digraph) -> Page:
    """Sizes the boxes by their text, lays them out, and puts title and legend around them."""
    texts = {key: lines(attributes) for key, attributes in graph.nodes(data=True)}
    sizes = {
        key: (CHARACTER * max(map(len, text)) + 2 * PADDING, ROW * len(text) + PADDING) for key, text in texts.items()
    }
    placed = layout(graph, sizes)
    families = dict.fromkeys(attributes["family"] for _, attributes in graph.nodes(data=True))
    legend = [(name, *COLOURS.get(name, OTHER)) for name in families if name != "output"]
    boxes = []
    for key, attributes in graph.nodes(data=True):
        (x, y), (width, height) = placed.centres[key], sizes[key]
        fill, outline = COLOURS.get(attributes["family"], OTHER)
        left, top = MARGIN + x - width / 2, MARGIN + TITLE + y - height / 2
        boxes.append(Box(left, top, width, height, fill, outline, texts[key]))
    legend_width = sum(CHARACTER * len(name) + 34 for name, _, _ in legend)
    count = sum(attributes["op"] not in ("output", "update") for _, attributes in graph.nodes(data=True))
    title = f"{graph.graph['name']}: {count} nodes"
    return Page(
        title,
        max(placed.width, legend_width, CHARACTER * len(title)) + 2 * MARGIN,
        placed.height + TITLE + LEGEND + 2 * MARGIN,
        boxes,
        [_curve(placed.routes[edge]) for edge in graph.edges],
        legend,
    )


def _curve(route: list[Point]) -> list[Point]:
    """A route in page coordinates, with room for the arrow head at its end."""
    points = [(MARGIN + x, MARGIN + TITLE + y) for x, y in route]
    (x, y) = points[-1]
    points[-1] = (x, y - ARROW)
    return points


def _controls(points: list[Point]) -> Iterator[tuple[Point, Point, Point]]:
    """The cubic Bezier pieces after the first point, as two control points and the end; vertical at every point."""
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        yield (x0, middle), (x1, middle), (x1, y1)


def svg(page: Page) -> str:
    """The page as an SVG document that needs no font, script or style from elsewhere."""
    width, height = round(page.width), round(page.height)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="11.5">',
        f"<title>{escape(page.title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.5 L8 4 L0 7.5 z" fill="{LINE}"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(MARGIN, MARGIN + 8, page.title, 'font-size="15" font-weight="bold"'),
        f'<g fill="none" stroke="{LINE}" stroke-width="1.3">',
    ]
    for points in page.curves:
        pieces = "".join(f" C{_at(a)} {_at(b)} {_at(c)}" for a, b, c in _controls(points))
        out.append(f'<path d="M{_at(points[0])}{pieces}" marker-end="url(#tip)"/>')
    out.append("</g>")
    for box in page.boxes:
        out.append(
            f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="6" '
            f'fill="{box.fill}" stroke="{box.outline}" stroke-width="1.3"/>'
        )
        for x, y, line, is_head in _rows(box):
            style = 'text-anchor="middle" font-weight="bold"' if is_head else f'text-anchor="middle" fill="{FAINT}"'
            out.append(_text(x, y + 4, line, style))
    for x, name, fill, outline in _legend(page):
        y = page.height - MARGIN
        out.append(
            f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="12" height="12" rx="3" fill="{fill}" stroke="{outline}"/>'
        )
        out.append(_text(x + 17, y, name, f'fill="{FAINT}"'))
    return "\n".join([*out, "</svg>", ""])


def _at(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _text(x: float, y: float, text: str, style: str) -> str:
    fill = "" if "fill=" in style else f' fill="{INK}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{fill} {style}>{escape(text)}</text>'


def _rows(box: Box) -> Iterator[tuple[float, float, str, bool]]:
    """Centre of each line of text of a box, the line, and whether it is the first."""
    for i, line in enumerate(box.lines):
        y = box.y + box.height / 2 + ROW * (i - (len(box.lines) - 1) / 2)
        yield box.x + box.width / 2, y, line, i == 0


def _legend(page: Page) -> Iterator[tuple[float, str, str, str]]:
    x = MARGIN
    for name, fill, outline in page.legend:
        yield x, name, fill, outline
        x += CHARACTER * len(name) + 34


def png(page: Page) -> bytes:
    """The page as a PNG, two pixels to the unit where that stays below 8,000 pixels; raises NotAvailableError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise NotAvailableError(
            "a PNG picture needs matplotlib: pip install 'graphc[pictures]' (an SVG picture needs nothing)"
        ) from None
    dpi = min(144.0, 72 * 8000 / max(page.width, page.height))
    figure = Figure(figsize=(page.width / 72, page.height / 72), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, page.width)
    axes.set_ylim(page.height, 0)
    axes.set_axis_off()
    _paint(axes, page)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _paint(axes: Any, page: Page) -> None:
    """Draws the page on matplotlib axes whose unit is a point."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path

    font = {"family": "DejaVu Sans"}
    axes.text(MARGIN, MARGIN + 8, page.title, size=12.5, weight="bold", color=INK, **font)
    for points in page.curves:
        vertices, codes = [points[0]], [Path.MOVETO]
        for piece in _controls(points):
            vertices += piece
            codes += [Path.CURVE4] * 3
        style = "-|>,head_length=3,head_width=1.8"
        arrow = FancyArrowPatch(
            path=Path(vertices, codes), arrowstyle=style, color=LINE, linewidth=1.0, mutation_scale=1
        )
        axes.add_patch(arrow)
    for box in page.boxes:
        shape = FancyBboxPatch(
            (box.x + 6, box.y + 6),
            box.width - 12,
            box.height - 12,
            boxstyle="round,pad=6,rounding_size=6",
            facecolor=box.fill,
            edgecolor=box.outline,
            linewidth=1.0,
        )
        axes.add_patch(shape)
        for x, y, line, is_head in _rows(box):
            weight, colour = ("bold", INK) if is_head else ("normal", FAINT)
            axes.text(x, y, line, size=8.6, weight=weight, color=colour, ha="center", va="center", **font)
    for x, name, fill, outline in _legend(page):
        y = page.height - MARGIN
        axes.add_patch(FancyBboxPatch((x + 3, y - 7), 6, 6, boxstyle="round,pad=3", facecolor=fill, edgecolor=outline))
        axes.text(x + 17, y - 4, name, size=8.6, color=FAINT, va="center", **font)
