"""Settings known at compile time: parameters of a block written `name: static`, and words such as `same`.

A static parameter takes a number, a list of numbers, true, false, or one of WORDS, and hands it on as it is: to a
built-in function, or to another block.
"""

from __future__ import annotations

from graphc.frontend import syntax as s
from graphc.frontend.arithmetic import Operand
from graphc.frontend.expression import operand
from graphc.frontend.scope import Frame, Shared
from graphc.frontend.values import POISON, Literal, Many, Poison, Size, Value, Word, describe

STATIC = "static"
WORDS = ("same", "valid")


def takes_setting(parameter: s.Parameter) -> bool:
    """Whether a block's parameter is a setting."""
    return parameter.type.dtype.name == STATIC


def setting(shared: Shared, frame: Frame, node: s.Expression) -> Operand:
    """An expression given to a setting; a word that is no name here stands for itself."""
    if isinstance(node, s.Name) and node.name in WORDS and node.name not in frame.names:
        return Operand(Word(node.name), node.span)
    return operand(shared, frame, node)


def check_setting(shared: Shared, given: Operand, parameter: s.Parameter, block: str) -> Value:
    """The setting's value; an error if it is computed in the graph."""
    value = given.value
    if isinstance(value, Poison) or _is_setting(value):
        return value
    title = f"`{parameter.name.name}` of `{block}` is a setting, not {describe(value)}"
    help = "a number, a list of numbers, true, false, same or valid"
    shared.error("GC0405", title, given.span, help=help, also=[(parameter.span, "declared here")])
    return POISON


def _is_setting(value: Value) -> bool:
    if isinstance(value, Many):
        return all(_is_setting(item) for item in value.items)
    return isinstance(value, Literal | Size | Word | Poison)
