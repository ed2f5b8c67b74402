"""Networks that read sequences: lstm_sentiment, char_lm, long_memory."""

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
CHARACTERS = EXAMPLES / "char_lm" / "char_lm.gc"
MEMORY = EXAMPLES / "long_memory" / "long_memory.gc"
SHAKESPEARE = DATA / "tinyshakespeare" / "input.txt"
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


def test_a_text_may_come_in_pieces() -> None:
    """What the speaker says of a text is what it says of its parts, states handed on, down to single characters."""
    speaker = graphc.compile(CHARACTERS, model="speaker")
    speaker.init(seed=4)
    text = np.random.default_rng(4).integers(0, 65, (2, 23)).astype(np.uint8)
    start = np.random.default_rng(5).normal(size=(2, 2, 128)).astype(np.float32)
    whole = speaker(text=text, h0=start[0], c0=start[1])
    h, c = start
    logits = []
    for part in np.split(text, [10, 11, 12, 22], axis=1):
        seen = speaker(text=part, h0=h, c0=c)
        h, c = seen["h"], seen["c"]
        logits.append(seen["logits"])
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole["logits"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(h, whole["h"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(c, whole["c"], rtol=1e-5, atol=1e-6)


def test_states_go_on_from_step_to_step() -> None:
    """Two steps of training on pieces leave the states that the speaker has after both; `gradients` leaves none."""
    model, speaker = (graphc.compile(CHARACTERS, model=name) for name in ("char_lm", "speaker"))
    model.hyper["lr"] = 0.0  # so that both steps have the same weights
    for name, value in model.params.items():
        speaker.params[name][...] = value
    text = np.random.default_rng(6).integers(0, 65, (32, 21)).astype(np.uint8)
    model.gradients(text=text[:, :12], next=text[:, 1:13])
    assert not model.states["h"].any() and not model.states["c"].any()
    for cut in (slice(0, 12), slice(12, 20)):
        model.step(text=text[:, cut], next=text[:, 1:][:, cut])
    zero = np.zeros((32, 128), np.float32)
    wanted = speaker(text=text[:, :20], h0=zero, c0=zero)
    np.testing.assert_allclose(model.states["h"], wanted["h"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.states["c"], wanted["c"], rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="the text is not shipped: no ../shared/data/tinyshakespeare")
def test_characters_are_foretold(tmp_path: Path, run_example: RunExample) -> None:
    """A quarter of an epoch, to 2.29 nats. The frequencies of pairs of characters give 2.45, of single ones 3.31."""
    said = run_example("char_lm", SHAKESPEARE, "--train", 250_000, "--epochs", 1, "--length", 60)
    found = re.search(r"loss ([\d.]+), held out ([\d.]+) nats", said)
    assert found is not None
    assert max(float(found[1]), float(found[2])) < 2.4
    assert re.findall(r"at temperature ([\d.]+):", said) == ["0.3", "0.7", "1.2"]
    assert is_picture(tmp_path / "runs" / "char_lm" / "char_lm.png")


@pytest.mark.parametrize("name", ["lstm_adds", "rnn_adds"])
def test_the_norms_are_those_of_the_derivatives_by_the_states(name: str) -> None:
    """The plain recurrence by its chain of Jacobians in f64; the LSTM by the step that its output takes last."""
    model = graphc.compile(MEMORY, model=name)
    random = np.random.default_rng(7)
    x = random.uniform(size=(3, 9, 2)).astype(np.float32)
    y = random.uniform(size=3).astype(np.float32)
    seen = model(x=x, y=y)
    p = {path.removeprefix("net."): np.array(w, np.float64) for path, w in model.params.items()}
    states = [np.zeros((3, 64))]
    cell = np.zeros((3, 64))
    for t in range(9):
        z = x[:, t] @ p["cell.wx"] + states[-1] @ p["cell.wh"] + p["cell.b"]
        if name == "rnn_adds":
            states.append(np.tanh(z))
            continue
        i, f, g, o = np.split(z, 4, axis=1)
        cell = cell / (1.0 + np.exp(-f - 1.0)) + np.tanh(g) / (1.0 + np.exp(-i))
        states.append(np.tanh(cell) / (1.0 + np.exp(-o)))
    wrong = (states[-1] @ p["out.w"] + p["out.b"])[:, 0] - y
    np.testing.assert_allclose(seen["error"], np.mean(wrong**2), rtol=1e-5)
    flow = 2.0 / 3.0 * wrong[:, None] * p["out.w"][:, 0]
    np.testing.assert_allclose(seen["norm"][-1], np.linalg.norm(flow), rtol=1e-5)
    if name == "rnn_adds":
        for t in range(8, 0, -1):
            flow = flow * (1.0 - states[t + 1] ** 2) @ p["cell.wh"].T
            np.testing.assert_allclose(seen["norm"][t - 1], np.linalg.norm(flow), rtol=1e-5)


def test_an_lstm_remembers_and_a_plain_recurrence_does_not(tmp_path: Path, run_example: RunExample) -> None:
    said = run_example("long_memory", "--length", 40, "--steps", 700)
    errors = {name: float(error) for name, error in re.findall(r"(\w+) +error ([\d.]+) on 500", said)}
    assert errors["LSTM"] < 0.02 < 0.1 < errors["RNN"]
    found = re.findall(r"after training: (\S+) at the first step, (\S+) at the last", said)
    lstm, rnn = (float(last) / float(first) for first, last in found)
    assert lstm < 20.0 < 80.0 < rnn  # 6 and 154; over 60 steps 7 and 4,000
    assert is_picture(tmp_path / "runs" / "long_memory" / "long_memory.png")
