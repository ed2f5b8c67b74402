"""Packing of boxes whose times overlap into the least space, a known problem (dynamic storage allocation, NP-hard).

A box goes to the tightest gap between those already placed that share a time with it, else behind them all. Orders are
tried until one is good: the largest first, the longest-lived first (Pisarchyk and Lee, "Efficient memory management for
deep neural net inference", 2020, compare such orders), and the earliest first, from both ends of the space that no
packing can do without: that is all it takes for a chain, where each box meets the next only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

UNLIMITED = np.iinfo(np.int64).max
GOOD = 1.01  # times what no packing can do without


class Box(NamedTuple):
    """`size` units that are taken from time `first` to time `last`."""

    size: int
    first: int
    last: int


def pack(boxes: Sequence[Box]) -> tuple[list[int], int]:
    """(where each box begins, the units that all need)."""
    least, _ = most_at_once(boxes)
    best: tuple[list[int], int] | None = None
    for key, ceiling in _ORDERS:
        order = sorted(range(len(boxes)), key=lambda n: key(boxes[n]))
        found = _place(boxes, order, least if ceiling else None)
        if best is None or found[1] < best[1]:
            best = found
        if best[1] <= GOOD * least:
            break
    assert best is not None, "there are orders"
    return best


def most_at_once(boxes: Sequence[Box]) -> tuple[int, int]:
    """(the most units that are taken at one time, the first time when they are): no packing needs less."""
    change: dict[int, int] = {}
    for size, first, last in boxes:
        change[first] = change.get(first, 0) + size
        change[last + 1] = change.get(last + 1, 0) - size
    taken, most, when = 0, 0, 0
    for time in sorted(change):
        taken += change[time]
        if taken > most:
            most, when = taken, time
    return most, when


_ORDERS: tuple[tuple[Callable[[Box], tuple[int, int]], bool], ...] = (  # a key to sort by, whether from both ends
    (lambda box: (-box.size, box.first), False),
    (lambda box: (box.first - box.last, -box.size), False),
    (lambda box: (box.first, -box.size), True),
)


def _place(boxes: Sequence[Box], order: Sequence[int], ceiling: int | None) -> tuple[list[int], int]:
    """Places the boxes in this order; numpy sieves those placed, so that tens of thousands take seconds only."""
    starts = [0] * len(boxes)
    placed = np.empty((4, len(boxes)), np.int64)  # start, end, first, last; in order of start
    for count, number in enumerate(order):
        size, first, last = boxes[number]
        now = placed[:, :count]
        start, end = now[:2, (now[2] <= last) & (now[3] >= first)]
        at = _gap(size, start, end, ceiling)
        starts[number] = at
        where = int(np.searchsorted(now[0], at))
        placed[:, where + 1 : count + 1] = placed[:, where:count].copy()
        placed[:, where] = at, at + size, first, last
    return starts, int(placed[1].max(initial=0))


def _gap(size: int, start: np.ndarray, end: np.ndarray, ceiling: int | None) -> int:
    """The beginning of the tightest gap of `size` between these, which are in order of start, else their end.

    With a ceiling the space below it counts as a gap, of which a box takes the upper end.
    """
    if not start.size:
        return 0
    reach = np.maximum.accumulate(end)
    below = np.concatenate(([0], reach))
    gaps = np.append(start, reach[-1] if ceiling is None else ceiling) - below
    gaps[gaps < size] = UNLIMITED
    tightest = int(np.argmin(gaps))
    if gaps[tightest] == UNLIMITED:
        return int(reach[-1])
    if tightest == start.size and ceiling is not None:
        return ceiling - size
    return int(below[tightest])
