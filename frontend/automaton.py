"""The parser's automaton: the tables of LALR(1) (DeRemer 1969), and the stack machine that they drive.

The tables are plain data (tables.py makes them). A rule that is reduced hands what its symbols stand for to the method
of the tree's builder that has its name; signs are left out where the grammar does not keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

END = "$END"


class Terminal(Protocol):
    """What the machine reads."""

    @property
    def type(self) -> str: ...


class Rule(NamedTuple):
    """What a reduction does: it takes `size` values and puts one of the symbol `origin` in their place.

    Each of `taken` is (which of the values, whether it is several, how many None come before it); `missing` more None
    come behind. With `is_transparent` a single one of them stands for the whole; otherwise the builder's method
    `method` makes the value, or they remain several for the rule around if there is none.
    """

    origin: str
    size: int
    method: str
    taken: Sequence[tuple[int, bool, int]]
    missing: int
    is_transparent: bool


@dataclass(frozen=True)
class Tables:
    """For every state the actions by symbol: go to a state (0, 1, ..), or reduce by a rule (-1, -2, ..).

    `terminals` are the patterns of the grammar's terminals, and whether they are plain text.
    """

    actions: Sequence[Mapping[str, int]]
    rules: Sequence[Rule]
    start: int
    end: int
    terminals: Mapping[str, tuple[str, bool]]


class Unexpected(Exception):
    """A terminal that does not fit. Reductions that it caused have been made."""


class _Several(list[Any]):
    """The values of a repetition, which belong to the rule around it."""


class Automaton:
    """Tables with the methods that the rules call."""

    def __init__(self, tables: Tables, builder: object) -> None:
        self.tables = tables
        self.reductions = [(rule.origin, rule.size, _maker(rule, builder)) for rule in tables.rules]


class Machine:
    """One run of an automaton. Both stacks may be cut back to what they were."""

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self.states = [automaton.tables.start]
        self.values: list[Any] = []

    def feed(self, terminal: Terminal) -> Any:
        """Takes a terminal; `Unexpected` if it does not fit. The value of the whole, once the terminal is the end."""
        states, values, kind = self.states, self.values, terminal.type
        actions, reductions, end = self.automaton.tables.actions, self.automaton.reductions, self.automaton.tables.end
        while True:
            action = actions[states[-1]].get(kind)
            if action is None:
                raise Unexpected(kind)
            if action >= 0:
                states.append(action)
                values.append(terminal)
                return None
            origin, size, make = reductions[~action]
            if make is None:  # the value stays
                states.pop()
            elif size:
                children = values[-size:]
                del states[-size:], values[-size:]
                values.append(make(children))
            else:
                values.append(make([]))
            states.append(actions[states[-1]][origin])
            if kind == END and states[-1] == end:
                return values[-1]

    def accepts(self) -> set[str]:
        """The terminals that fit."""
        every = self.automaton.tables.actions[self.states[-1]]
        return {kind for kind in every if kind.isupper() and self._fits(kind)}

    def _fits(self, kind: str) -> bool:
        tables, states = self.automaton.tables, list(self.states)
        while True:
            action = tables.actions[states[-1]].get(kind)
            if action is None or action >= 0:
                return action is not None
            rule = tables.rules[~action]
            del states[len(states) - rule.size :]
            states.append(tables.actions[states[-1]][rule.origin])
            if kind == END and states[-1] == tables.end:
                return True


def _maker(rule: Rule, builder: object) -> Callable[[list[Any]], Any] | None:
    """What makes the value of a rule of the values of its symbols; None if there is one, which stays as it is."""
    is_all = [*rule.taken] == [(number, False, 0) for number in range(rule.size)] and not rule.missing
    if is_all and rule.is_transparent and rule.size == 1:
        return None
    build: Callable[[list[Any]], Any] = getattr(builder, rule.method) if rule.method else _Several
    if is_all and not rule.is_transparent:
        return build

    def make(values: list[Any]) -> Any:
        chosen: list[Any] = []
        for number, is_several, before in rule.taken:
            if before:
                chosen += [None] * before
            if not is_several:
                chosen.append(values[number])
            elif chosen:
                chosen += values[number]
            else:  # a repetition grows at its end: its values are not copied each time
                chosen = values[number]
        if rule.missing:
            chosen += [None] * rule.missing
        return chosen[0] if rule.is_transparent and len(chosen) == 1 else build(chosen)

    return make
