"""The benchmark of convolutions runs: a tiny row, compared with PyTorch's results where that is installed."""

from __future__ import annotations

import re

import convolution
from contraction import peak_function

TINY = ("tiny", 2, 6, 3, 4, 3, 1, 1, 1)


def test_a_tiny_row() -> None:
    _alive, peak = peak_function()
    line = convolution.measure(TINY, peak, seconds=0.0)
    assert re.match(
        r"tiny +0 MFLOP( \| (conv|data|weights) +[\d.]+ +\d+% torch +[\d.]+ +[\d.]+ us){3} \| compile \d+ ms", line
    )


def test_rows_have_all_columns() -> None:
    assert {len(row) for row in convolution.ROWS} == {len(TINY)}
