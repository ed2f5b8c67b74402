"""`graphc train` survives being killed. GRAPHC_FUZZ_KILLS=200 for the long run."""

from __future__ import annotations

import os
from pathlib import Path

import kills
import pytest

KILLS = int(os.environ.get("GRAPHC_FUZZ_KILLS", "3"))
SEED = int(os.environ.get("GRAPHC_FUZZ_SEED", "0"))


@pytest.mark.parametrize("model", kills.MODELS)
def test_a_killed_run_ends_with_the_bits_of_one_left_in_peace(tmp_path: Path, model: str) -> None:
    assert kills.campaign(tmp_path, model, KILLS, SEED, epochs=6, longest=0.4) >= 1
