"""Random models with scans whose smallest tasks are shared out as well: the same bits on any number of threads."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
from scans import ScanWriter

import graphc
from graphc.codegen import entry, spmd, steps
from graphc.runtime.model import Model

COUNT = int(os.environ.get("GRAPHC_RANDOM_SCANS", "8"))


@pytest.mark.parametrize("seed", range(9, 9 + COUNT))
def test_random_scans_have_the_same_bits_on_all_threads(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (spmd, steps, entry):
        monkeypatch.setattr(module, "WORTH_SHARING", 1)
    for module in (spmd, entry):
        monkeypatch.setattr(module, "WORTH_A_FORK", 1)
    text = ScanWriter(seed).text()
    artifact = graphc.compile_source(text).artifact
    models = [Model(artifact, threads=count) for count in (1, 2, 5)]
    for batch, length, inner in ((3, 2, 4), (17, 5, 1), (1, 1, 1)):
        random = np.random.default_rng(seed)
        x, y = random.normal(size=(batch, length, 3)), random.normal(size=(length, inner))
        given = {"x": x, "y": y, "n": random.integers(1, length + 1, batch).astype(np.int32)}
        z, found = random.normal(size=x.shape), []
        for model in models:
            model.init(seed=1)
            loss, gradients = model.gradients(**given, z=z)
            every = [np.asarray(a) for a in (loss["loss"], *gradients.values(), *model(given).values())]
            found.append(hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in every)).hexdigest())
        assert len(set(found)) == 1, text
