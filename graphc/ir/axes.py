"""How a reshape groups axes: which run of axes before is which run of axes after, for known and symbolic sizes."""

from __future__ import annotations

from graphc.ir.dims import Dim, divide_exactly

Shape = tuple[Dim, ...]
Groups = list[tuple[tuple[int, ...], tuple[int, ...]]]


def reshape_groups(before: Shape, after: Shape) -> Groups | None:
    """The finest pairs (axes before, axes after) of equal products, in order; None if it cannot be decided.

    [B, 4, 6] -> [B, 24] is [((0,), (0,)), ((1, 2), (1,))].  A unit axis that a reshape inserts or removes is a
    pair with nothing on the other side.
    """
    groups: Groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] == after[j]:
            groups.append(((i,), (j,)))
            i, j = i + 1, j + 1
        elif i < len(before) and before[i] == 1:
            groups.append(((i,), ()))
            i += 1
        elif j < len(after) and after[j] == 1:
            groups.append(((), (j,)))
            j += 1
        else:
            ends = _merge(before, after, i, j)
            if ends is None:
                return None
            groups.append((tuple(range(i, ends[0])), tuple(range(j, ends[1]))))
            i, j = ends
    return groups


def _merge(before: Shape, after: Shape, i: int, j: int) -> tuple[int, int] | None:
    """The ends of the shortest runs from axes i and j with equal products."""
    if i == len(before) or j == len(after):
        return None
    left, right = before[i], after[j]
    i, j = i + 1, j + 1
    while left != right:
        if _is_less(left, right) and i < len(before):
            left, i = left * before[i], i + 1
        elif _is_less(right, left) and j < len(after):
            right, j = right * after[j], j + 1
        else:
            return None
    return i, j


def _is_less(a: Dim, b: Dim) -> bool:
    """Whether a is surely smaller: less as a number, or a divisor."""
    if isinstance(a, int) and isinstance(b, int):
        return 0 < a < b
    return a != 0 and divide_exactly(b, a) is not None
