"""The tables of the parser's automaton: computed from the grammar by Lark, which takes longer than compiling a small
model, or read from the cache of compiled models, where they are kept as JSON. Lark is needed for nothing else.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from graphc.cache import sealed, unsealed, user_cache
from graphc.frontend.automaton import Rule, Tables

_FORM = 1  # of what is kept
_START = "module"


def tables_of(grammar: str) -> Tables:
    """The tables of a grammar."""
    cache = user_cache()
    if cache is None:
        return _computed(grammar)
    name = hashlib.sha256(json.dumps([grammar, _START, _FORM]).encode()).hexdigest() + ".lalr"
    kept = cache.read(name)
    found = _restored(kept) if kept is not None else None
    if found is None:
        found = _computed(grammar)
        cache.write(name, _kept(found))
    return found


def _computed(grammar: str) -> Tables:
    from lark import Lark

    made = Lark(grammar, parser="lalr", lexer="basic", start=_START, maybe_placeholders=True)
    table: Any = made.parser.parser._parse_table  # Lark has no other way to it
    every = [table.states[number] for number in range(len(table.states))]
    rules = {arg: None for actions in every for _, arg in actions.values() if not isinstance(arg, int)}
    numbers = {rule: number for number, rule in enumerate(rules)}
    return Tables(
        [
            {str(symbol): arg if isinstance(arg, int) else ~numbers[arg] for symbol, (_, arg) in actions.items()}
            for actions in every
        ],
        [_rule(rule) for rule in rules],
        table.start_states[_START],
        table.end_states[_START],
        {one.name: (one.pattern.value, one.pattern.type == "str") for one in made.terminals},
    )


def _rule(rule: Any) -> Rule:
    """A rule as Lark would reduce it (lark/parse_tree_builder.py): anonymous signs are left out, `[x]` may be None."""
    options, name = rule.options, str(rule.origin.name)
    is_transparent = bool(options.expand1 and not rule.alias)
    taken: list[tuple[int, bool, int]] = []
    missing, symbols = 0, iter(enumerate(rule.expansion))
    for is_empty in options.empty_indices or [False] * len(rule.expansion):
        if is_empty:
            missing += 1
            continue
        number, symbol = next(symbols)
        if options.keep_all_tokens or not (symbol.is_term and symbol.filter_out):
            taken.append((number, not symbol.is_term and symbol.name.startswith("_"), missing))
            missing = 0
    is_nameless = name.startswith("_") or (is_transparent and len(taken) == 1 and not taken[0][1] and not missing)
    method = "" if is_nameless else str(rule.alias or name)
    return Rule(name, len(rule.expansion), method, taken, missing, is_transparent)


def _kept(tables: Tables) -> bytes:
    """The tables as JSON."""
    parts = [tables.actions, tables.rules, tables.start, tables.end, tables.terminals]
    return sealed(json.dumps(parts, separators=(",", ":")).encode())


def _restored(kept: bytes) -> Tables | None:
    """Tables that were kept; None if they are damaged."""
    text = unsealed(kept)
    if text is None:
        return None
    actions, rules, start, end, terminals = json.loads(text)
    rules = [
        Rule(origin, size, method, [(number, several, before) for number, several, before in taken], *rest)
        for origin, size, method, taken, *rest in rules
    ]
    return Tables(actions, rules, start, end, {name: (text, plain) for name, (text, plain) in terminals.items()})
