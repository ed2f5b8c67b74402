"""Networks that read sequences: lstm_sentiment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import graphc
from graphc import cli
from graphc.runtime.errors import InputShapeError, LimitError
from graphc.runtime.model import Model

RunExample = Callable[..., str]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DATA = ROOT.parent / "shared" / "data"
IMDB = DATA / "imdb" / "imdb_subset.npz"
SENTIMENT = EXAMPLES / "lstm_sentiment" / "lstm_sentiment.gc"
needs_imdb = pytest.mark.skipif(not IMDB.exists(), reason="the reviews are not shipped: no ../shared/data/imdb")


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def sentiment() -> Model:
    return graphc.compile(SENTIMENT, model="lstm_sentiment")


def reviews(size: int, longest: int, seed: int) -> dict[str, NDArray[np.generic]]:
    """A batch of random words, one review as long as the batch and the others of any length."""
    random = np.random.default_rng(seed)
    length = random.integers(1, longest + 1, size).astype(np.int32)
    length[-1] = longest
    tokens = random.integers(0, 500, (size, longest)).astype(np.int32)
    return {"tokens": tokens, "length": length, "label": random.integers(0, 2, size).astype(np.uint8)}


def logit_by_hand(model: Model, words: NDArray[np.generic]) -> float:
    """What an LSTM says of one review, in NumPy f64."""
    p = {path: np.array(w, np.float64) for path, w in model.params.items()}
    h, c = np.zeros((2, 64))
    for word in words:
        x = p["words.table"][int(word)] @ p["read.cell.wx"] + h @ p["read.cell.wh"] + p["read.cell.b"]
        i, f, g, o = np.split(x, 4)
        c = c / (1.0 + np.exp(-f - 1.0)) + np.tanh(g) / (1.0 + np.exp(-i))
        h = np.tanh(c) / (1.0 + np.exp(-o))
    return float((h @ p["out.w"] + p["out.b"])[0])


@pytest.mark.parametrize(("size", "longest"), [(1, 1), (5, 1), (1, 400), (33, 7), (3, 400), (2, 81)])
def test_one_compiled_lstm_reads_every_length_and_every_batch(sentiment: Model, size: int, longest: int) -> None:
    """Each review of a padded batch as if it stood alone, by hand; and a step can be made on it."""
    sentiment.init(seed=longest)
    batch = reviews(size, longest, seed=size)
    found = sentiment(tokens=batch["tokens"], length=batch["length"])["logit"]
    wanted = [logit_by_hand(sentiment, row[:n]) for row, n in zip(batch["tokens"], batch["length"], strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)
    before = float(sentiment.step(batch)["loss"])
    for _ in range(3):
        sentiment.step(batch)
    assert float(sentiment.evaluate(batch)["loss"]) < before


def test_what_stands_behind_a_review_does_not_count(sentiment: Model) -> None:
    batch = reviews(4, 30, seed=8)
    batch["length"][:] = [1, 12, 29, 30]
    loss, grads = sentiment.gradients(batch)
    other = np.where(np.arange(30) < batch["length"][:, None], batch["tokens"], 499).astype(np.int32)
    loss2, grads2 = sentiment.gradients({**batch, "tokens": other})
    assert loss["loss"] == loss2["loss"]
    for path, grad in grads.items():
        np.testing.assert_array_equal(grad, grads2[path], err_msg=path)


def test_a_review_of_401_words_is_an_error(sentiment: Model) -> None:
    batch = reviews(2, 401, seed=1)
    with pytest.raises(InputShapeError, match="T = 401 from tokens; it must be from 1 to 400"):
        sentiment(tokens=batch["tokens"], length=batch["length"])


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_is_what_the_plan_says(sentiment: Model, capsys: pytest.CaptureFixture[str], threads: int) -> None:
    """A step at the sizes for which `graphc show` prints a total needs that many bytes, and not one less."""
    words = ["show", str(SENTIMENT), "--model", "lstm_sentiment", "--stage", "memory", "--entry", "step"]
    assert cli.main(words) == 0
    pattern = r"total ([\d,]+) bytes at B = (\d+), T = (\d+)(?:, and ([\d,]+) for each further thread)?\n"
    plan = [
        [int(number.replace(",", "") or 0) for number in row] for row in re.findall(pattern, capsys.readouterr().out)
    ]
    assert [(size, longest) for _, size, longest, _ in plan] == [(1, 1), (32, 32), (1024, 400)]
    for total, size, longest, further in plan:
        needed = total + (threads - 1) * further
        batch = reviews(size, longest, seed=2)
        fresh = Model(sentiment.artifact, threads=threads)
        fresh.arena_limit = needed - 1
        with pytest.raises(LimitError, match=f"an arena of {needed:,} bytes"):
            fresh.step(batch)
        fresh.arena_limit = needed
        if size < 1024:  # that would take a gigabyte
            assert np.isfinite(float(fresh.step(batch)["loss"]))


@needs_imdb
def test_reviews_are_judged(tmp_path: Path, run_example: RunExample) -> None:
    """On two fifths of the reviews, far from the end of the training. The gates win: 73 and 70 %, against 51 %."""
    said = run_example("lstm_sentiment", IMDB, "--train", 2000, "--epochs", 4)
    found = re.findall(r"(\w+) +loss ([\d.]+) +test accuracy: ([\d.]+) % of 1000", said)
    loss, right = ({name: float(row[at]) for name, *row in found} for at in (0, 1))
    assert list(right) == ["LSTM", "GRU", "RNN"]
    for name in ("LSTM", "GRU"):
        assert loss[name] < 0.55 and right[name] >= 65.0 and right[name] > right["RNN"] + 5.0, name
    assert is_picture(tmp_path / "runs" / "lstm_sentiment" / "lstm_sentiment.png")
