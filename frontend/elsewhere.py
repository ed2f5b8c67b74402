"""What other languages and libraries write, and what is written here: help for those who come from there.

Looked up by the text of a word or sign, on the way to an error: nothing here decides whether there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

_WHERE = "both ways are computed, and one is taken: y = where(condition, yes, no)"
_LOOP = "a loop over instances is `for one in layers:`, one at run time `scan t in T:`"
_PIECE = "a reusable piece is `block f[D](x: f32[D]) -> (y: f32[D]):`, what is compiled a `model`"
_BODY = "a body is indented below a line that ends in `:`"
_COMMENT = "a comment begins with #, one that belongs to a declaration with ##"

LINE_WORDS = {
    **dict.fromkeys(("if", "elif", "else"), _WHERE),
    "while": _LOOP,
    **dict.fromkeys(("def", "fn", "func", "function", "class", "layer"), _PIECE),
    **dict.fromkeys(("from", "import", "include"), 'write `use std.nn: dense`, or `use "./file.gc" as name`'),
    **dict.fromkeys(("let", "var"), "a value is bound without a word: y = x + 1"),
    "return": "outputs are named behind `->` and assigned in the body",
    "print": "`probe name = value` makes an output of any value",
}
"""What other languages begin a line with."""

EXPRESSION_WORDS = {"if": _WHERE, "else": _WHERE, "for": _LOOP, "lambda": _PIECE}
"""What they write inside of an expression."""

SIGNS = {
    "&": "both conditions: a and b",
    "|": "either condition: a or b",
    "!": "the opposite: not a",
    "~": "the opposite: not a",
    "^": "a power: x ** 2",
    ";": "a statement ends with its line",
    "{": _BODY,
    "}": _BODY,
    "?": "a size that is known at the call has an Uppercase name: dim B",
    "\\": "a line goes on inside of brackets",
    "'": 'write "text"',
    "//": _COMMENT,
    '""': _COMMENT,
}
"""Signs that mean nothing here, or nothing where they stand."""

DTYPES = {
    **dict.fromkeys(("float", "float32", "single"), "f32"),
    **dict.fromkeys(("double", "float64"), "f64"),
    **dict.fromkeys(("int", "int32"), "i32"),
    **dict.fromkeys(("long", "int64"), "i64"),
    **dict.fromkeys(("byte", "uint8"), "u8"),
    **dict.fromkeys(("char", "int8"), "i8"),
    "boolean": "bool",
}
"""Element types by their names in C, NumPy and PyTorch."""

FIT = {
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(("batch", "batch_size"), "batch"),
    **dict.fromkeys(("validation", "validation_split"), "validation"),
    **dict.fromkeys(("patience", "early_stopping"), "patience"),
}
"""Settings of training that are given when a model is trained, not in its file -> arguments of `fit`."""

_LIBRARIES = frozenset(
    {"F", "K", "flax", "jax", "jnp", "keras", "layers", "losses", "math", "nn", "np", "numpy", "optim", "tf", "torch"}
)
_SAME = {
    **dict.fromkeys(("sparsecategoricalcrossentropy", "categoricalcrossentropy"), "cross_entropy"),
    **dict.fromkeys(("softmaxcrossentropy", "softmaxcrossentropywithlogits"), "cross_entropy"),
    **dict.fromkeys(("bce", "bcewithlogits", "binarycrossentropywithlogits"), "binary_cross_entropy"),
    **dict.fromkeys(("meansquared", "meansquarederror", "squarederror"), "mse"),
    **dict.fromkeys(("l1", "meanabsoluteerror"), "mae"),
    "smoothl1": "huber",
    **dict.fromkeys(("maxpooling", "maxpool"), "max_pool"),
    **dict.fromkeys(("avgpooling", "averagepooling", "avgpool"), "avg_pool"),
    "batchnormalization": "batch_norm",
    "layernormalization": "layer_norm",
    "multiheadattention": "attention",
    "swish": "silu",
    "arange": "iota",
    **dict.fromkeys(("cat", "concatenate"), "concat"),
    "view": "reshape",
    "permute": "transpose",
    **dict.fromkeys(("amax", "maximum"), "max"),
    **dict.fromkeys(("amin", "minimum"), "min"),
    **dict.fromkeys(("astype", "type", "to"), "cast"),
}
_FORMS = {
    **dict.fromkeys(("matmul", "dot", "mm", "bmm", "addmm"), "a product of matrices is x @ w"),
    **dict.fromkeys(("pow", "power", "square"), "a power is x ** 2"),
    **dict.fromkeys(("unsqueeze", "expanddims"), "a new axis is x[:, None]"),
    "squeeze": "an axis of size 1 is dropped by its index: x[:, 0]",
    "range": _LOOP,
    **dict.fromkeys(("shape", "size"), "a size is its dimension, such as B"),
    **dict.fromkeys(("randn", "rand"), "random numbers are normal([B, D]) and uniform([B, D])"),
    "T": "write transpose(x)",
    "True": "write true",
    "False": "write false",
}


def conversion(name: str) -> str:
    """How to convert to a type that is called `name` here or elsewhere; empty if it is none."""
    type = DTYPES.get(name, name if name in DTYPES.values() else "")
    return f"to convert: cast(x, {type})" if type else ""


def is_library(name: str) -> bool:
    """Whether a name is what other tools call a library of theirs."""
    return name in _LIBRARIES


def advice(name: str, functions: Iterable[str]) -> str:
    """What is written here for what is called `name` elsewhere; empty if nothing is known to be meant."""
    plain = _plain(name)
    if name in DTYPES:
        return conversion(name)
    form = _FORMS.get(name) or _FORMS.get(plain)
    if form is not None:
        return form
    functions, library = {_plain(one): one for one in functions}, {_plain(one): one for one in standard_names()}
    known = {**library, **functions, **_SAME}
    found = known.get(plain) or known.get(_undimensioned(plain))
    if found in functions.values():
        return f"did you mean `{found}`?"
    module = standard_names().get(found or "")
    if module is None:
        return ""
    if module == "optim":
        return f"an optimizer is chosen in a train section: optimizer = {found}(...)"
    return f"it is in the library: use std.{module}: {found}"


@cache
def standard_names() -> dict[str, str]:
    """The blocks and optimizers of the standard library -> the module they are in."""
    from graphc.frontend.standard import STANDARD, standard  # the parser, which asks here for its messages

    return {name: module for module in STANDARD for name in standard(module)}


def _plain(name: str) -> str:
    """`CrossEntropyLoss` and `cross_entropy` alike."""
    plain = name.lower().replace("_", "")
    return plain.removesuffix("loss") or plain


def _undimensioned(plain: str) -> str:
    """`maxpool2d` without its dimensions."""
    return re.sub(r"[123]d$", "", plain)
