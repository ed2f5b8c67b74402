"""A model on several numbers of threads, and the bits of what it computes."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.runtime import threads
from graphc.runtime.model import Model

COUNTS = (1, 2, 3, 8)

needs_pool = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the pool waits with Linux's futex")


def bits(arrays: Any) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in arrays)).hexdigest()


def pool() -> threads.Pool:
    found = threads.current()
    assert found is not None
    return found


def variants(model: graphc.Model) -> list[Model]:
    """The model on every number of threads, however busy the machine is."""
    made = [Model(model.artifact, threads=count) for count in COUNTS]
    assert [one.threads for one in made] == list(COUNTS)
    if sys.platform.startswith("linux"):
        made[-1].team.start()
        pool().insist()
    return made
