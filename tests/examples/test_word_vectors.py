"""Word vectors of Tiny Shakespeare: what the pairs are, how far the cost falls, and who is near whom."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import graphc

RunExample = Callable[..., str]
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "word_vectors"
TEXT = ROOT.parent / "shared" / "data" / "tinyshakespeare" / "input.txt"
needs_text = pytest.mark.skipif(
    not TEXT.exists(), reason="Tiny Shakespeare is not shipped: no ../shared/data/tinyshakespeare"
)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    specification = importlib.util.spec_from_file_location("word_vectors", FOLDER / "word_vectors.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_pairs_are_neighbours_and_noise_is_by_frequency(program: ModuleType) -> None:
    words = [f"w{letter}" for letter in "abcdefghijklmnopqrst"] * 3
    vocabulary = program.Vocabulary(" ".join(words) + " rare, Rare! never-seen", 21)
    assert len(vocabulary.text) == 62 and vocabulary.words[0] == "wa" and vocabulary.words[-1] == "rare"
    program.FREQUENT, kept = 1.0, program.FREQUENT  # every word stays
    try:
        epochs = [vocabulary.pairs(np.random.default_rng(seed)) for seed in range(20)]
    finally:
        program.FREQUENT = kept
    noise = np.concatenate([pairs["noise"].ravel() for pairs in epochs])
    shares = np.bincount(noise, minlength=21) / noise.size
    np.testing.assert_allclose(shares, vocabulary.counts**0.75 / np.sum(vocabulary.counts**0.75), atol=0.01)
    position = {number: vocabulary.number[word] for number, word in enumerate(words[:20])}
    place = {number: i for i, number in position.items()}
    for pairs in epochs:
        assert pairs["word"].shape == pairs["near"].shape == pairs["noise"].shape[:1]
        for a, b in zip(pairs["word"].tolist(), pairs["near"].tolist(), strict=True):
            if a in place and b in place:
                apart = abs(place[a] - place[b])
                assert min(apart, 20 - apart) <= 5


def test_one_step_is_the_gradient_of_the_cost(program: ModuleType) -> None:
    """In NumPy, in f64, with words that stand in the batch several times."""
    model = graphc.compile(FOLDER / "word_vectors.gc", dims={"N": 3})
    model.init(1)
    random = np.random.default_rng(0)
    model.params["contexts"][...] = random.normal(scale=0.1, size=model.params["contexts"].shape)
    words, contexts = (np.array(model.params[name], np.float64) for name in ("words", "contexts"))
    word, near = (random.integers(0, 9, 40).astype("i4") for _ in range(2))
    noise = random.integers(0, 9, (40, 3)).astype("i4")
    every = np.concatenate([near[:, None], noise], 1)
    sign = np.array([1.0, -1.0, -1.0, -1.0])
    scores = np.einsum("be,bne->bn", words[word], contexts[every])
    slope = -sign / (1 + np.exp(sign * scores))
    cost = np.log1p(np.exp(-sign * scores)).sum()
    by_word, by_context = np.zeros_like(words), np.zeros_like(contexts)
    np.add.at(by_word, word, np.einsum("bn,bne->be", slope, contexts[every]))
    np.add.at(by_context, every, slope[:, :, None] * words[word][:, None])
    made = model.step(word=word, near=near, noise=noise)
    np.testing.assert_allclose(made["pair"], cost / 40, 1e-5)
    np.testing.assert_allclose(model.params["words"], words - 0.025 * by_word, 1e-4, 1e-6)
    np.testing.assert_allclose(model.params["contexts"], contexts - 0.025 * by_context, 1e-4, 1e-6)


def test_no_table_is_in_the_plan_of_a_step() -> None:
    plan = graphc.compile(FOLDER / "word_vectors.gc", dims={"B": 256, "N": 5}).memory()
    assert "f32[3000, 64]" not in plan and "written in place: words, contexts" in plan


def test_sums_are_of_directions(program: ModuleType) -> None:
    vocabulary = program.Vocabulary("king man woman queen other", 5)
    table = {"king": [3, 3, 0], "man": [0, 2, 0], "woman": [0, 0, 1], "queen": [1, 0, 1], "other": [0, 1, 1]}
    vectors = program.Vectors(vocabulary, np.array([table[word] for word in vocabulary.words], np.float32))
    assert vectors.sum("king", "man", "woman", 1) == ["queen"]
    assert vectors.near(vectors["king"])[0] == "king" and len(vectors.near(vectors["king"], 2, ("king",))) == 2


@needs_text
def test_neighbours_share_a_play_or_a_part_of_speech(run_example: RunExample, tmp_path: Path) -> None:
    said = run_example("word_vectors", TEXT)
    cost = re.search(r"cost of a pair: ([\d.]+) in the first epoch, ([\d.]+) in the last", said)
    assert cost is not None and float(cost[1]) < 2.9 and float(cost[2]) < 2.42
    near = {word: set(rest.split()) for word, rest in re.findall(r"^near (\w+): (.*)$", said, re.MULTILINE)}
    assert (
        "juliet" in near["romeo"] and len(near["romeo"] & {"mercutio", "benvolio", "tybalt", "nurse", "laurence"}) >= 3
    )
    assert len(near["king"] & {"richard", "henry", "edward", "vi", "iii", "ii", "iv"}) >= 4
    romans = {"aufidius", "titus", "lartius", "senators", "senator", "coriolanus", "marcius", "menenius", "cominius"}
    assert len(near["rome"] & romans) >= 4
    assert len(near["thou"] & {"dost", "hast", "wilt", "art", "thee", "canst", "thy", "shalt"}) >= 5
    mother = re.search(r"^son - father \+ mother: (.*)$", said, re.MULTILINE)
    assert mother is not None and {"wife", "daughter"} & set(mother[1].split())
    assert (tmp_path / "runs" / "word_vectors" / "word_vectors.png").read_bytes().startswith(b"\x89PNG")
