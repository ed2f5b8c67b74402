"""Ways to spoil a file: bytes, numbers within texts, and the tokens of model files."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 10**40)
Mutator = Callable[[random.Random, bytes], bytes]


def cut(draws: random.Random, data: bytes) -> bytes:
    return data[: draws.randrange(len(data) + 1)]


def flip(draws: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draws.choice((1, 1, 1, 2, 8))):
        out[draws.randrange(len(out))] ^= 1 << draws.randrange(8)
    return bytes(out)


def overwrite(draws: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    start = draws.randrange(len(out))
    count = draws.choice((1, 2, 4, 8, 64))
    fill = draws.choice((b"\0", b"\xff", b"{", b'"', b" ", draws.randbytes(1)))
    out[start : start + count] = fill * len(out[start : start + count])
    return bytes(out)


def zero_tail(draws: random.Random, data: bytes) -> bytes:
    keep = draws.randrange(len(data) + 1)
    return data[:keep] + bytes(len(data) - keep)


def field(draws: random.Random, data: bytes) -> bytes:
    """A number of 4 or 8 bytes where there may be one."""
    out = bytearray(data)
    size = draws.choice((4, 8))
    start = min(draws.choice((draws.randrange(64), draws.randrange(len(out)))), max(0, len(out) - size))
    number = draws.choice(NUMBERS) % 2 ** (8 * size)
    out[start : start + size] = number.to_bytes(size, draws.choice(("little", "big")))
    return bytes(out)


def insert(draws: random.Random, data: bytes) -> bytes:
    at = draws.randrange(len(data) + 1)
    return data[:at] + draws.randbytes(draws.choice((1, 2, 8, 100))) + data[at:]


def remove(draws: random.Random, data: bytes) -> bytes:
    at = draws.randrange(len(data))
    return data[:at] + data[at + draws.choice((1, 2, 8, 100)) :]


def repeat(draws: random.Random, data: bytes) -> bytes:
    at = draws.randrange(len(data))
    part = data[at : at + draws.choice((1, 8, 64, 500))]
    return data[:at] + part * draws.choice((2, 3, 50)) + data[at + len(part) :]


def number(draws: random.Random, data: bytes) -> bytes:
    """A decimal number in the text of a header."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20_000]))
    if not found:
        return flip(draws, data)
    one = draws.choice(found)
    value = draws.choice((*map(str, NUMBERS), "1.5", "-0", "1e999", "NaN", "true", "null", '"3"', "[]", "9" * 5000))
    return data[: one.start()] + value.encode() + data[one.end() :]


MUTATORS: tuple[Mutator, ...] = (cut, flip, flip, overwrite, zero_tail, field, insert, remove, repeat, number)


def mutant(draws: random.Random, data: bytes) -> bytes:
    """One or a few mutations of a file."""
    for _ in range(draws.choice((1, 1, 1, 2, 3))):
        if data:
            data = draws.choice(MUTATORS)(draws, data)
    return data


def json_mutant(draws: random.Random, value: Any) -> Any:
    """A JSON value with one place changed: a number, a key, a type, an order."""
    places = list(_places(value, ()))
    out = json.loads(json.dumps(value))
    path = draws.choice(places)
    if not path:
        return draws.choice(([], {}, None, 3, "x"))
    home = out
    for key in path[:-1]:
        home = home[key]
    key = path[-1]
    kind = draws.randrange(6)
    if kind == 0 and isinstance(home, dict):
        home[draws.choice(("", "name", "x" * 300, "\0", "__class__"))] = home.pop(key)
    elif kind == 1:
        del home[key]
    elif kind == 2 and isinstance(home, list):
        draws.shuffle(home)
    elif kind == 3 and isinstance(home, list):
        home.extend(home[:1] * draws.choice((1, 40)))
    else:
        home[key] = draws.choice((*NUMBERS, 1.5, -1.0, True, None, "", "x", "B", [], {}, [1], ["*", "B", 4], {"a": 1}))
    return out


def _places(value: Any, path: tuple[Any, ...]) -> Any:
    yield path
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _places(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _places(one, (*path, index))


TOKEN = re.compile(r"\n[ ]*|[A-Za-z_]\w*|\d[\d.e]*|\"[^\"\n]*\"|->|\*\*|\|>|==|!=|<=|>=|[^\w\s]|[ ]+")
_WORDS = """
model block train param state slot dim use const require for when scan carry emit input hyper metric loss optimizer clip
probe grad in if and or not none true false inf nan f32 f64 i32 i64 u8 bool real B C D x y w relu tanh softmax sum mean
max argmax matmul reshape transpose concat slice gather cast where exp log sqrt conv2d max_pool dropout normal zeros
adam sgd dense batch_norm cross_entropy einsum cumsum sort top_k one_hot take pad split stack axis O A step seed
"""
WORDS = _WORDS.split()
_SIGNS = "( ) [ ] { } , : = -> |> + - * / ** @ . ... < >= == ? ' \" \\ # ## \t \0 é а \u202e ; % $ & | ^ ~ `"
SIGNS = [*_SIGNS.split(" "), "\n", "\n    ", "\n        "]
_LITERALS = """
0 1 -1 2 3 7 200 65536 2147483648 9223372036854775808 1e999 1e-400 0x1p-3 1_000 0.5 1. .5 -0.0 nan inf
"b" "*.w" "x\\";ret}"
"""
LITERALS = [*_LITERALS.split(), "1" + "0" * 100]


def text_mutant(draws: random.Random, text: str, others: Sequence[str]) -> str:
    """A model file with some tokens exchanged, doubled, dropped, or lines of another file in it."""
    tokens = TOKEN.findall(text)
    for _ in range(draws.choice((1, 1, 2, 3, 6))):
        if not tokens:
            break
        at = draws.randrange(len(tokens))
        kind = draws.randrange(10)
        if kind == 0:
            del tokens[at]
        elif kind == 1:
            tokens.insert(at, tokens[at])
        elif kind == 2:
            tokens[at] = draws.choice(WORDS)
        elif kind == 3:
            tokens.insert(at, draws.choice(SIGNS))
        elif kind == 4:
            tokens[at] = draws.choice(LITERALS)
        elif kind == 5:
            other = draws.randrange(len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 6:
            tokens[at] = draws.choice(tokens)
        elif kind == 7:
            stop = min(len(tokens), at + draws.randrange(1, 12))
            tokens[at:stop] = tokens[at:stop] * draws.choice((2, 2, 3, 30))
        elif kind == 8:
            lines = draws.choice(others).split("\n")
            start = draws.randrange(len(lines))
            tokens.insert(at, "\n" + "\n".join(lines[start : start + draws.randrange(1, 4)]))
        else:
            numbers = [i for i, token in enumerate(tokens) if token[0].isdigit()]
            if numbers:
                tokens[draws.choice(numbers)] = draws.choice(LITERALS)
    return "".join(tokens)
