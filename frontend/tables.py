"""The parser's automaton: computed from the grammar by Lark, which takes longer than compiling a small model, or read
from the cache of compiled models, where the tables are kept as JSON.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import lark
from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from graphc.cache import sealed, unsealed, user_cache

_CHOICES = {"parser": "lalr", "lexer": "basic", "start": "module", "maybe_placeholders": True}


def automaton(grammar: str, builder: object) -> Lark:
    """The automaton of a grammar; `builder` has a method for each rule."""
    cache = user_cache()
    if cache is None:
        return _computed(grammar, builder)
    request = json.dumps([grammar, _CHOICES, lark.__version__])
    name = hashlib.sha256(request.encode()).hexdigest() + ".lalr"
    kept = cache.read(name)
    found = _restored(kept, builder) if kept is not None else None
    if found is None:
        found = _computed(grammar, builder)
        cache.write(name, _kept(found))
    return found


def _computed(grammar: str, builder: object) -> Lark:
    return Lark(grammar, transformer=builder, **_CHOICES)


def _kept(automaton: Lark) -> bytes:
    """The tables as JSON."""
    data, memo = automaton.memo_serialize([Rule, TerminalDef])
    options = {**data["options"], "transformer": None}  # the builder, which is given again
    return sealed(json.dumps([{**data, "options": options}, memo], separators=(",", ":")).encode())


def _restored(kept: bytes, builder: object) -> Lark | None:
    """The automaton of tables that were kept; None if they are damaged."""
    text = unsealed(kept)
    if text is None:
        return None
    data, memo = json.loads(text)
    tables = data["parser"]["parser"]
    tables["states"] = {
        int(state): {int(token): action for token, action in actions.items()}
        for state, actions in tables["states"].items()
    }
    tables["tokens"] = _by_number(tables["tokens"])
    load: Any = Lark._load_from_dict  # what the parsers that Lark generates call
    restored: Lark = load(data, _by_number(memo), transformer=builder)
    return restored


def _by_number(table: dict[str, Any]) -> dict[int, Any]:
    """JSON has texts for keys."""
    return {int(number): value for number, value in table.items()}
