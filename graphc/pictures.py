"""Learning curves as a PNG, from the history of a training run (matplotlib: the extra `pictures`)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from graphc.runtime.errors import NotAvailableError

COLOURS = ("#2f6fb7", "#c8452f", "#4b9a45", "#a8489b", "#b9770e", "#26888a")
INK, GRID = "#1d2430", "#e3e7ee"
HELD_OUT = "val_"


def curves(history: Mapping[str, Sequence[float]], title: str = "") -> bytes:
    """One panel for each figure (loss, accuracy, ...) over the epochs, with its held-out twin `val_...` dashed.

    `history` maps a figure's name to its value after each epoch.  Raises NotAvailableError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise NotAvailableError("learning curves need matplotlib: pip install 'graphc[pictures]'") from None
    names = [name for name in history if not name.startswith(HELD_OUT) and name not in ("epoch", "seconds")]
    figure = Figure(figsize=(5.2 * max(len(names), 1), 3.9), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        colour = COLOURS[index % len(COLOURS)]
        pairs = [(history[name], "training", "-"), (history.get(HELD_OUT + name, ()), "held out", "--")]
        for values, label, style in pairs:
            if len(values):
                epochs = range(1, len(values) + 1)
                marker = "o" if len(values) <= 30 else ""
                axes.plot(epochs, values, style, color=colour, label=label, marker=marker, markersize=3, linewidth=1.6)
        axes.set_title(name, color=INK)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if len(pairs[1][0]):
            axes.legend(frameon=False)
    if title:
        figure.suptitle(title, color=INK, weight="bold")
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
