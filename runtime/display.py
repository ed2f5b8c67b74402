"""How a model shows itself: a short text and a small HTML table."""

from __future__ import annotations

import html as escape
import math

from graphc.runtime.buffers import describe as describe_leaf
from graphc.runtime.dimexpr import show_shape
from graphc.runtime.errors import counted
from graphc.runtime.signature import Signature


def describe(signature: Signature) -> str:
    """Inputs, outputs, size and entries, a line each."""
    lines = [f"graphc model {signature.name}"]
    lines += [f"  {kind:<10} {text}" for kind, text in _facts(signature)]
    return "\n".join(lines)


def html(signature: Signature) -> str:
    """The same as a table."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape.escape(kind)}</th>"
        f"<td style='text-align:left'><code>{escape.escape(text)}</code></td></tr>"
        for kind, text in _facts(signature)
    )
    return f"<table><caption>graphc model <b>{escape.escape(signature.name)}</b></caption>{rows}</table>"


def _facts(signature: Signature) -> list[tuple[str, str]]:
    inputs = [(f"{x.name}: {describe_leaf(x)}", x.train_only) for x in signature.with_role("input")]
    params = signature.with_role("param")
    count = sum(math.prod(leaf.sizes) for leaf in params)
    forward = signature.entries.get("forward")
    outputs = [f"{x.name}: {x.dtype}{show_shape(x.shape)}" for x in forward.outputs] if forward else []
    facts = [
        ("inputs", ", ".join(text for text, later in inputs if not later)),
        ("training", ", ".join(text for text, later in inputs if later)),
        ("outputs", ", ".join(outputs)),
        ("parameters", f"{count:,} in {counted(len(params), 'tensor')}"),
        ("hyper", ", ".join(leaf.name for leaf in signature.with_role("hyper"))),
        ("entries", ", ".join(signature.entries)),
        ("target", signature.target.name),
    ]
    return [(kind, text) for kind, text in facts if text]
