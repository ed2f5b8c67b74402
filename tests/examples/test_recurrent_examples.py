"""rnn_patterns: what is remembered in three ways, and that a scan is the graph that is drawn for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

import graphc

RunExample = Callable[..., str]
SOURCE = Path(__file__).parents[2] / "examples" / "rnn_patterns" / "rnn_patterns.gc"


def test_each_recurrence_learns_its_task(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("rnn_patterns")
    cities = dict(re.findall(r"^(.+): .* of all words, ([\d.]+) % of the cities$", said, re.MULTILINE))
    assert float(cities["without memory"]) < 60.0  # a city is as often an origin as a destination
    assert float(cities["slots"]) > 98.0
    assert float(cities["slots, verb last"]) < 70.0  # what comes behind is not known yet
    assert float(cities["both ways, verb last"]) > 98.0
    assert "Neuquén: destination; 2: date; noviembre: date; Salta: origin\n" in said
    found = re.search(r"kind of a sentence: ([\d.]+) % right", said)
    assert found is not None and float(found[1]) > 98.0
    for length in (8, 50, 400):
        assert f"parity of {length} bits: 100.0 % right at every step" in said
    assert (tmp_path / "runs" / "rnn_patterns" / "rnn_patterns.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "runs" / "rnn_patterns" / "unrolled.svg").read_text(encoding="utf-8").count("cell.wh") == 1


def test_the_unrolled_graph_is_the_scan_at_three_steps() -> None:
    scan, unrolled = (graphc.compile(SOURCE, model=name) for name in ("slots", "unrolled"))
    for name in scan.params:
        unrolled.params[name][...] = scan.params[name]
    words = np.random.default_rng(0).integers(0, 80, (5, 3)).astype(np.int32)
    written_out = unrolled(words=words)
    wanted = np.stack([written_out[f"z{t}"] for t in (1, 2, 3)], axis=1)
    np.testing.assert_allclose(scan(words=words)["z"], wanted, rtol=1e-5, atol=1e-6)


def test_one_output_at_the_end_ignores_what_is_behind_it() -> None:
    model = graphc.compile(SOURCE, model="kind")
    words = np.random.default_rng(1).integers(1, 80, (4, 9)).astype(np.int32)
    length = np.array([1, 4, 9, 6], np.int32)
    padded = np.where(np.arange(9) < length[:, None], words, 0).astype(np.int32)
    np.testing.assert_array_equal(model(words=words, length=length)["z"], model(words=padded, length=length)["z"])
    alone = [model(words=words[i : i + 1, :n], length=length[i : i + 1])["z"][0] for i, n in enumerate(length)]
    np.testing.assert_allclose(model(words=words, length=length)["z"], np.stack(alone), rtol=1e-5, atol=1e-6)
