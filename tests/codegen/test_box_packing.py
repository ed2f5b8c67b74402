"""Boxes that share a time never share space, and all together take little more than no packing can do without."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from graphc.codegen.box_packing import GOOD, Box, most_at_once, pack


def check(boxes: Sequence[Box]) -> float:
    """Compares every two boxes; returns how many times the least possible space was taken."""
    starts, units = pack(boxes)
    taken = [(start, start + box.size) for start, box in zip(starts, boxes, strict=True)]
    assert all(start >= 0 and end <= units for start, end in taken)
    for (a, one), (b, other) in combinations(zip(boxes, taken, strict=True), 2):
        if a.first <= b.last and b.first <= a.last:
            assert one[1] <= other[0] or other[1] <= one[0], (a, one, b, other)
    last = max((box.last for box in boxes), default=0)
    totals = [sum(box.size for box in boxes if box.first <= time <= box.last) for time in range(last + 1)]
    most, when = most_at_once(boxes)
    assert most == max(totals) and when == totals.index(most)
    return units / most if most else 1.0


def random_boxes(seed: int) -> list[Box]:
    rng = np.random.default_rng(seed)
    first, size = rng.integers(0, 40, 50), rng.integers(0, 100, 50)
    last = first + rng.geometric(0.2, 50)
    return [Box(int(s), int(f), int(t)) for s, f, t in zip(size, first, last, strict=True)]


@pytest.mark.parametrize("seed", range(60))
def test_random_boxes(seed: int) -> None:
    assert check(random_boxes(seed)) < 1.2


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_takes_what_its_widest_pair_does(seed: int) -> None:
    sizes = np.random.default_rng(seed).choice([7, 16, 32, 50, 64], 80)
    assert check([Box(int(size), n, n + 1) for n, size in enumerate(sizes)]) <= GOOD


@pytest.mark.parametrize("seed", range(20))
def test_a_training_step_takes_what_lives_in_its_middle(seed: int) -> None:
    """Activations live until their gradient is computed, gradients for one task or two."""
    sizes = np.random.default_rng(seed).choice([5, 16, 32, 64], 60)
    forward = [Box(int(size), n, 60 - n) for n, size in enumerate(sizes[:30])]
    backward = [Box(int(size), 30 + n, 31 + n) for n, size in enumerate(sizes[30:])]
    assert check([*forward, *backward]) < 1.05


def test_a_large_box_makes_room_for_several_small_ones() -> None:
    assert check([Box(100, 0, 1), Box(40, 2, 5), Box(60, 2, 5), Box(50, 6, 6), Box(50, 6, 7)]) == 1.0


def test_nothing_and_boxes_of_no_size() -> None:
    assert pack([]) == ([], 0)
    assert pack([Box(0, 0, 3), Box(0, 1, 2)]) == ([0, 0], 0)
    assert check([Box(0, 0, 3), Box(4, 1, 2), Box(0, 2, 2)]) == 1.0


def test_the_same_boxes_lie_the_same_way() -> None:
    assert pack(random_boxes(7)) == pack(random_boxes(7))
