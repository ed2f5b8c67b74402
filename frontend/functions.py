"""The built-in functions: one table, filled by the modules of each family. docs/language.md says what each means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.frontend.call import Site
from graphc.frontend.values import Value

Handler = Callable[[Site], Value]


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the language: its parameters (see call.py) and what it builds."""

    parameters: tuple[str, ...]
    run: Handler


FUNCTIONS: dict[str, Builtin] = {}

LATER = frozenset(  # in the language, not in this version
    {
        *("glorot_uniform", "glorot_normal", "he_normal", "he_uniform", "lecun_normal"),
        *("orthogonal", "truncated_normal"),
    }
)


DERIVED = frozenset(  # functions that the language can say itself; a file may define a block of that name
    {
        *("leaky_relu", "elu", "selu", "softplus", "silu", "gelu", "hard_step", "cosine", "var"),
        *("mse", "mae", "huber", "hinge", "nll", "one_hot", "stack", "flatten"),
    }
)


def function(signature: str) -> Callable[[Handler], Handler]:
    """Registers a handler under `name(parameters)`."""
    name, _, rest = signature.partition("(")
    parameters = tuple(part.strip() for part in rest.removesuffix(")").split(",") if part.strip())

    def register(handler: Handler) -> Handler:
        FUNCTIONS[name] = Builtin(parameters, handler)
        return handler

    return register


from graphc.frontend import (  # noqa: E402  the families register themselves
    functions_convolution,
    functions_elementwise,
    functions_loss,
    functions_movement,
    functions_order,
    functions_random,
    functions_reduction,
)

__all__ = [
    "FUNCTIONS",
    "LATER",
    "function",
    "functions_convolution",
    "functions_elementwise",
    "functions_loss",
    "functions_movement",
    "functions_order",
    "functions_random",
    "functions_reduction",
]
