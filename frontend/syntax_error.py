"""What to say about a line that does not parse: the token that does not fit, and what would have fitted."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from difflib import get_close_matches

from graphc.diagnostics import Diagnostic, Label
from graphc.frontend.lexer import Token

DECLARATION_WORDS = ("use", "dim", "const", "precision", "block", "model", "optimizer", "train")
STATEMENT_WORDS = (
    *("param", "state", "slot", "dim", "require", "scan", "carry", "emit", "for", "when", "probe", "grad"),
    *("input", "hyper", "metric", "optimizer"),
)
_WHERE = "both ways are computed, and one is taken: y = where(condition, yes, no)"
_LOOP = "a loop over instances is `for one in layers:`, one at run time `scan t in T:`"
_PIECE = "a reusable piece is `block f[D](x: f32[D]) -> (y: f32[D]):`, what is compiled a `model`"
_OTHERS = {
    **dict.fromkeys(("if", "elif", "else"), _WHERE),
    "while": _LOOP,
    **dict.fromkeys(("def", "fn", "func", "function", "class", "layer"), _PIECE),
    **dict.fromkeys(("from", "import", "include"), 'write `use std.nn: dense`, or `use "./file.gc" as name`'),
    **dict.fromkeys(("let", "var"), "a value is bound without a word: y = x + 1"),
    "return": "outputs are named behind `->` and assigned in the body",
    "print": "`probe name = value` makes an output of any value",
}
"""What other languages begin a line with, and what is written here."""
_EXPRESSION = frozenset({"NUMBER", "STRING", "NAME", "DIM", "LPAR", "LSQB", "MINUS"})
_OPERATORS = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "AT", "POWER", "COMPARE", "AND", "OR"})
_SIGNS = frozenset({"+", "-", "*", "/", "//", "%", "@", "**"})
_SHOWN = {
    "NAME": "a name",
    "DIM": "a dimension (an Uppercase name)",
    "NUMBER": "a number",
    "STRING": "a string",
    "_NL": "the end of the line",
    "_INDENT": "an indented body",
    "COLON": "`:`",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "DOT": "`.`",
    "ELLIPSIS": "`...`",
    "AT": "`@`",
    "ARROW": "`->`",
    "RANGE": "`..`",
    "PIPE": "`|>`",
    "DIM_WORD": "`dim`",
}
_HEAD_END = {
    "block": "expected `:` after the block's outputs",
    "model": "expected `:` after the model's outputs",
    "optimizer": "expected `:` after the optimizer's arguments",
    "train": "expected `:` after the model's name",
    "scan": "expected `:` after the axis of the scan",
    "for": "expected `:` after what the loop runs over",
    "when": "expected `:` after `training`",
}


def explain_line(tokens: Sequence[Token], index: int, accepted: AbstractSet[str], inside: bool) -> Diagnostic:
    """The error of a line whose token `index` does not fit; `accepted` are the terminals that would."""
    found = tokens[index]
    first = next((token for token in tokens if token.type != "AT"), tokens[0])
    misspelt = _misspelt_keyword(tokens, index, inside)
    if misspelt is not None:
        return misspelt
    if found.type == "_NL" and "COLON" in accepted and first.text in _HEAD_END:
        return _error(found, _HEAD_END[first.text])
    if index == 0 and len(tokens) > 1 and tokens[1].type in ("EQUAL", "COMMA") and _is_word(found):
        return _error(found, f"`{found.text}` is a word of the language and cannot be a name", "choose another name")
    if index == 0:
        return _error(found, *_misplaced(found, inside))
    if found.type == "EQUAL" and "COMPARE" in accepted:
        return _error(found, "`=` inside an expression", "to compare, write ==")
    if _is_word(found) and "NAME" in accepted:
        return _error(found, f"`{found.text}` is a word of the language and cannot be a name", "choose another name")
    if found.type == "DIM" and "NAME" in accepted and "DIM" not in accepted:
        help = "Uppercase names are dimensions, lowercase names are values"
        return _error(found, f"expected a lowercase name, found the dimension `{found.text}`", help)
    if found.type == "NAME" and "DIM" in accepted and "NAME" not in accepted:
        help = "Uppercase names are dimensions, lowercase names are values"
        return _error(found, f"expected a dimension, found `{found.text}`", help)
    sign = tokens[index + 1] if index + 1 < len(tokens) else None
    is_update = index == 1 and found.text in _SIGNS and sign is not None and sign.type == "EQUAL"
    help = f"write {first.text} = {first.text} {found.text} ..." if is_update else ""
    return _error(found, f"expected {_expected(accepted)}, found {_shown(found)}", help)


def _is_word(token: Token) -> bool:
    return token.text.isidentifier() and token.type not in ("NAME", "DIM")


def _error(token: Token, title: str, help: str = "") -> Diagnostic:
    return Diagnostic("GC0010", title, (Label(token.span),), help)


def _misspelt_keyword(tokens: Sequence[Token], index: int, inside: bool) -> Diagnostic | None:
    """`modle lenet(...)`: a line that begins with two words, the first of them no keyword."""
    if index > 1 or tokens[0].type != "NAME" or len(tokens) < 2:
        return None
    if index == 1 and tokens[1].type not in ("NAME", "DIM", "STRING"):
        return None
    if index == 0 and tokens[1].type in ("EQUAL", "COMMA"):
        return None
    words = STATEMENT_WORDS if inside else DECLARATION_WORDS
    title, labels = f"`{tokens[0].text}` begins no declaration", (Label(tokens[0].span),)
    if tokens[0].text in _OTHERS:
        return Diagnostic("GC0011", title, labels, _OTHERS[tokens[0].text])
    near = get_close_matches(tokens[0].text, words, n=1)
    if not near and index == 0:
        return None
    help = f"did you mean `{near[0]}`?" if near else "lines begin with " + ", ".join(words)
    return Diagnostic("GC0011", title, labels, help)


def _misplaced(token: Token, inside: bool) -> tuple[str, str]:
    if not inside and token.text in STATEMENT_WORDS:
        return f"`{token.text}` outside of a block", "indent it below the block, model or train it belongs to"
    if inside and token.text in DECLARATION_WORDS:
        return f"`{token.text}` inside of a block", "move it to the beginning of a line"
    if not inside:
        return f"expected a declaration, found {_shown(token)}", "they begin with " + ", ".join(DECLARATION_WORDS)
    return f"expected a statement, found {_shown(token)}", ""


def _expected(accepted: AbstractSet[str]) -> str:
    """The accepted terminals in words, expressions and operators summed up."""
    rest = set(accepted) - {"BROKEN", "_DEDENT", "$END"}
    parts: list[str] = []
    if rest >= _EXPRESSION:
        parts.append("an expression")
        rest -= _EXPRESSION | {"NOT", "NONE", "GRAD", "EINSUM"}
    if rest >= _OPERATORS - {"MINUS", "AND", "OR", "COMPARE"}:
        parts.append("an operator")
        rest -= _OPERATORS | {"DOT", "LSQB", "LPAR", "PIPE"}
    named = sorted(rest, key=lambda terminal: (terminal != "_NL", terminal))
    parts.extend(_SHOWN.get(terminal, "") or _keyword(terminal) for terminal in named)
    parts = [part for part in parts if part][:5]
    if not parts:
        return "something else"
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " or " + parts[-1]


def _keyword(terminal: str) -> str:
    return f"`{terminal.lower()}`" if terminal.isalpha() else ""


def _shown(token: Token) -> str:
    if token.type in ("_NL", "_INDENT", "_DEDENT"):
        return _SHOWN.get(token.type, "the end of the block")
    text = token.text if len(token.text) <= 40 else token.text[:40] + "..."
    return f"`{text}`"
