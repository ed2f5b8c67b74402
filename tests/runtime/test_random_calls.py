"""Random arguments: whether the builtin or Python makes a call, results and errors are the same."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from linear_model import model

from graphc.runtime import call_path
from graphc.runtime.model import Model

CALLS = 3000
DTYPES = ["f8", "i8", "f2", "u1", ">f4", "O", "c8", "M8[s]"]
OTHERS: list[Any] = [None, 1, "x", b"abc", {}, (), np.float32(1)]


def argument(random: Random, dtype: str) -> Any:
    """Often just what is wanted, else another dtype, shape, layout or kind of object."""
    rows = random.choice([4, 4, 4, 4, 1, 2, 5, 0, 13, 100, 101])
    shape = (rows, 3) if dtype == "f4" else (rows,)
    if random.random() < 0.1:
        shape = random.choice([(), (3,), (4,), (3, 4), (4, 3, 1), (1, 4, 3)])
    kind = random.choice([dtype] * 16 + DTYPES)
    array: Any = np.array([random.randrange(4) for _ in range(int(np.prod(shape)))]).reshape(shape).astype(kind)
    match random.randrange(16):
        case 0:
            return np.asfortranarray(array)
        case 1 if array.ndim:
            return array[::-1]
        case 2 if array.ndim:
            return np.repeat(array, 2, axis=0)[::2]
        case 3 if kind != "O":
            moved = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(shape)
            moved[...] = array
            return moved
        case 4:
            array.flags.writeable = False
        case 5:
            return array.tolist()
        case 6:
            return random.choice(OTHERS)
        case 7 if kind == "i4":
            return array - random.choice([1, -4])
    return array


def result(net: Model, method: str, given: dict[str, Any], by_name: bool) -> Any:
    """Bits and shapes of what a call returns, or its error."""
    call = getattr(net, method)
    try:
        found = call(**given) if by_name else call(given)
    except Exception as error:  # whichever: it has to be the same
        return type(error), str(error)
    return {name: (np.asarray(value).tobytes(), np.shape(value), type(value)) for name, value in found.items()}


@pytest.mark.parametrize("seed", range(2))
def test_random_arguments(seed: int) -> None:
    random, quick, slow = Random(seed), model(), model()
    slow._quick_step = slow._quick_forward = slow._quick_evaluate = call_path.never
    for number in range(CALLS):
        given = {"x": argument(random, "f4"), "k": argument(random, "i4")}
        method = random.choice(["step", "evaluate", "__call__"])
        if method == "__call__" or random.random() < 0.05:
            given.pop("k")
        if random.random() < 0.05:
            given["z"] = 1
        by_name = random.random() < 0.5
        assert result(quick, method, given, by_name) == result(slow, method, given, by_name), (number, method, given)
        assert quick.digest() == slow.digest() and quick.steps == slow.steps and not quick._arena.busy
        if number % 50 == 0:  # weights grow without end
            quick.init(number), slow.init(number)
