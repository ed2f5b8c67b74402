"""What to say about a line that does not parse: the token that does not fit, and what would have fitted."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from difflib import get_close_matches

from graphc.diagnostics import Diagnostic, Label
from graphc.frontend.elsewhere import EXPRESSION_WORDS, LINE_WORDS, SIGNS, advice
from graphc.frontend.lexer import Token

DECLARATION_WORDS = ("use", "dim", "const", "precision", "block", "model", "optimizer", "train")
STATEMENT_WORDS = (
    *("param", "state", "slot", "dim", "require", "scan", "carry", "emit", "for", "when", "probe", "grad"),
    *("input", "hyper", "metric", "optimizer"),
)
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
_CASE = "Uppercase names are dimensions, lowercase names are values"
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
        if index > 1 and tokens[index - 1].type == "DIM" and tokens[index - 2].type in ("LSQB", "COMMA"):
            title = f"`{tokens[index - 1].text}=` belongs to the declaration of an instance"
            return _error(found, title, f"param name = block[{tokens[index - 1].text}=...], and then name(x)")
        return _error(found, "`=` inside an expression", "to compare, write ==")
    if _is_word(found) and "NAME" in accepted:
        is_axis = found.text == "dim" and tokens[index + 1].type == "EQUAL"
        help = "the axis of a function is named by axis=" if is_axis else "choose another name"
        return _error(found, f"`{found.text}` is a word of the language and cannot be a name", help)
    if found.type == "DIM" and "NAME" in accepted and "DIM" not in accepted:
        help = advice(found.text, ()) or _CASE
        return _error(found, f"expected a lowercase name, found the dimension `{found.text}`", help)
    if found.type == "NAME" and "DIM" in accepted and "NAME" not in accepted:
        return _error(found, f"expected a dimension, found `{found.text}`", _CASE)
    return _error(found, f"expected {_expected(accepted)}, found {_shown(found)}", _hint(tokens, index, accepted))


def _hint(tokens: Sequence[Token], index: int, accepted: AbstractSet[str]) -> str:
    """What may have been meant by a line whose token `index`, not its first, does not fit; or nothing."""
    found, before = tokens[index], tokens[index - 1]
    after = tokens[index + 1].type if index + 1 < len(tokens) else ""
    first = next((token for token in tokens if token.type != "AT"), tokens[0])
    if index == 1 and found.text in _SIGNS and after == "EQUAL":
        return f"write {first.text} = {first.text} {found.text} ..."
    if index == 1 and found.text == "==":
        return f"to give it a value, write {first.text} = ..."
    if index == 1 and found.type == "LPAR" and first.type == "NAME":
        return LINE_WORDS.get(first.text, "a line gives a name to a value: y = f(x)")
    if found.text in EXPRESSION_WORDS or before.text in EXPRESSION_WORDS:
        return EXPRESSION_WORDS.get(found.text) or EXPRESSION_WORDS[before.text]
    if before.type == "ARROW" and accepted == {"LPAR"}:
        return "outputs have names: -> (y: f32[B])"
    if found.type == "RSQB" and before.type == "DIM" and accepted == {"EQUAL"}:
        return f"sizes are given by name, such as O={before.text}"
    if found.type in ("COMMA", "RPAR") and accepted == {"COLON"}:
        return f"say its type: {before.text}: f32[B]"
    if found.type == "EQUAL" and accepted == {"COLON"}:
        return f"say its type: {before.text}: f32 = ..."
    if found.type == "STRING" and tokens[index - 2].type == "EINSUM":
        return "write einsum(x[b, i] * w[i, o] -> [b, o])"
    if first.type == "USE" and found.type == "STAR":
        return "say which names are taken"
    if found.type == "COLON" and before.type == "OPTIMIZER":
        return "write optimizer = adam(lr = 1e-3)"
    if found.type == "DOT" and after == "NUMBER":
        return f"write 0.{tokens[index + 1].text}"
    if "COMMA" in accepted and found.type in ("NAME", "DIM", "NUMBER", "STRING"):
        return f"is a comma missing before {_shown(found)}?"
    return ""


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
    if tokens[0].text in LINE_WORDS:
        return Diagnostic("GC0011", title, labels, LINE_WORDS[tokens[0].text])
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
        help = SIGNS.get(token.text) or "they begin with " + ", ".join(DECLARATION_WORDS)
        return f"expected a declaration, found {_shown(token)}", help
    return f"expected a statement, found {_shown(token)}", _CASE if token.type == "DIM" else SIGNS.get(token.text, "")


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
