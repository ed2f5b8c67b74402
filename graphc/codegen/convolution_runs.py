"""Which elements of one operand meet an element of the result: the geometry of convolution along one axis.

Results are cut into runs, within which everything is affine: element number j of a run, at index first + j * step,
meets at each of its taps t the source element source + j * source_step + t * source_tap_step, and the weights' tap
tap + t * tap_step.

- A window o of an image meets the elements o * stride - low + t * dilation: one run.
- An element i of an image lies in window o at tap k where i + low = o * stride + k * dilation.  For all i of one phase,
  i + low = r modulo the stride, the taps are every (stride / g)-th one, g = gcd(stride, dilation), and the windows that
  they come from are dilation / g apart: every phase is a run, whose source elements are neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

from graphc.codegen.kernel import Affine, Call, Position, affine
from graphc.ir.dims import Dim
from graphc.ir.types import I64

MOST_CUTS = 12  # runs of an axis that is cut: each is code of its own
WORTH_CUTTING = 0.95  # the part of the products that must remain, at most, for the cuts to pay


@dataclass(frozen=True)
class Run:
    """Elements of the result along one axis and what they meet, as said above."""

    first: int
    step: int
    count: Dim
    source: int
    source_step: int
    taps: int
    source_tap_step: int
    tap: int
    tap_step: int


@dataclass(frozen=True)
class Axis:
    """All runs of an axis; `low` and `high` elements before and behind the source's own are met as well."""

    runs: tuple[Run, ...]
    low: int
    high: int


def window_runs(count: Dim, size: int, stride: int, low: int, high: int, dilation: int) -> Axis:
    """The run of `count` windows of an image."""
    return Axis((Run(0, 1, count, -low, stride, size, dilation, 0, 1),), low, high)


def image_runs(n: Dim, size: int, stride: int, low: int, high: int, dilation: int) -> Axis:
    """The runs of the n elements of an image, which meet windows; taps are met backwards, as windows ascend then."""
    common = gcd(stride, dilation)
    tap_step, window_step = stride // common, dilation // common
    runs = []
    for first in range(stride):
        if isinstance(n, int) and first >= n:
            break
        rest = (first + low) % stride
        tap = next((k for k in range(min(tap_step, size)) if k * dilation % stride == rest), size)
        taps = -(-(size - tap) // tap_step)
        last = tap + tap_step * (taps - 1)
        window = (first + low - last * dilation) // stride if taps else 0
        count = (n - first + stride - 1) // stride
        runs.append(Run(first, stride, count, window, 1, taps, window_step, last, -tap_step))
    least = min((run.source for run in runs if run.taps), default=0)
    behind = -(-((size - 1) * dilation - high) // stride)
    if isinstance(n, int):
        windows = (n + low + high - (size - 1) * dilation - 1) // stride + 1
        behind = max((_last(run) for run in runs if run.taps), default=0) - (windows - 1)
    return Axis(tuple(runs), max(0, -least), max(0, behind))


def _last(run: Run) -> int:
    """The last element of the source that a run of known length meets."""
    assert isinstance(run.count, int)
    return run.source + (run.count - 1) * run.source_step + (run.taps - 1) * run.source_tap_step


def cut(axis: Axis, n: Dim) -> Axis:
    """The axis with shorter runs that meet none but the source's own n elements, if that saves enough products."""
    found: list[Run] = []
    done = all_products = 0
    for run in axis.runs:
        if not isinstance(run.count, int) or not isinstance(n, int):
            return axis
        for j in range(run.count):
            start = run.source + j * run.source_step
            first = max(0, -(start // run.source_tap_step))
            stop = min(run.taps, (n - 1 - start) // run.source_tap_step + 1)
            piece = _piece(run, j, first, max(0, stop - first))
            done, all_products = done + piece.taps, all_products + run.taps
            if found and _continues(found[-1], piece):
                found[-1] = replace(found[-1], count=found[-1].count + 1)
            else:
                found.append(piece)
    if len(found) > MOST_CUTS or done > WORTH_CUTTING * all_products:
        return axis
    return Axis(tuple(found), 0, 0)


def rows_inside(tap: Affine, rows: Dim, n: Dim, low: int) -> tuple[Affine, Affine]:
    """(the first of `rows` windows, one apart, that do not have this tap in the padding of n elements, how many)."""
    least = Position(I64, Affine())
    first = Call(I64, "max", (Position(I64, low - tap), least))
    stop = Call(I64, "min", (Position(I64, n + low - tap), Position(I64, affine(rows))))
    count = Call(I64, "max", (Position(I64, affine(stop) - affine(first)), least))
    return affine(first), affine(count)


def _piece(run: Run, j: int, first: int, taps: int) -> Run:
    """Element number j of a run alone, with `taps` taps from number `first` on."""
    return replace(
        run,
        first=run.first + j * run.step,
        count=1,
        source=run.source + j * run.source_step + first * run.source_tap_step,
        taps=taps,
        tap=run.tap + first * run.tap_step,
    )


def _continues(run: Run, piece: Run) -> bool:
    """Whether a single element comes right behind a run and meets the same taps."""
    assert isinstance(run.count, int), "only runs of known lengths are cut"
    first, source = run.first + run.count * run.step, run.source + run.count * run.source_step
    return piece == replace(run, first=first, count=1, source=source)
