"""Basic blocks and structured control flow: loops, conditions and switches with values merged by phi."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from graphc.codegen.ssa import Index, Value, const, known

COLD = "!0"  # the module's branch weights of a condition that is almost never true


@dataclass
class Loop:
    """What the body of a loop sees (`index`, `values`), what it sets (`next`) and what is left behind (`results`)."""

    index: Value
    values: list[Value]
    next: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)


@dataclass
class Branch:
    """A conditional part: it sets `next`; afterwards `results` are those, or the initial values if it was skipped."""

    next: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)


class Blocks:
    """The body of a function under construction: lines of text, fresh names, and the open basic block."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.block = "entry"
        self._names = 0

    def fresh(self, stem: str) -> str:
        self._names += 1
        return f"{stem}{self._names}"

    def emit(self, line: str) -> None:
        """One instruction without a result."""
        self.lines.append("  " + line)

    def assign(self, type: str, expression: str) -> Value:
        """One instruction with a result of `type`."""
        self._names += 1
        name = f"%v{self._names}"
        self.lines.append(f"  {name} = {expression}")
        return Value(name, type)

    def begin(self, label: str) -> None:
        """Opens the basic block `label`; the one before must have ended."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.emit(f"br label %{label}")

    def branch(self, condition: Value, then: str, otherwise: str, cold: bool = False) -> None:
        self.emit(f"br i1 {condition.text}, label %{then}, label %{otherwise}" + (f", !prof {COLD}" if cold else ""))

    def merge(self, values: Sequence[tuple[Value, str]]) -> Value:
        """The phi of (value, block it comes from); must stand at the head of a block."""
        arms = ", ".join(f"[ {value.text}, %{block} ]" for value, block in values)
        return self.assign(values[0][0].type, f"phi {values[0][0].type} {arms}")

    @contextmanager
    def loop(
        self, start: Index, stop: Index, step: int = 1, carried: Sequence[Value] = (), may_be_empty: bool = False
    ) -> Iterator[Loop]:
        """Counts an i64 from `start` by `step` (> 0) while it is below `stop`; the test stands at the end.

        Where the body is known to run once there is no loop.
        The body runs at least once, unless `may_be_empty` asks for a guard; `results` are then the values of `carried`
        when it does not run. A body that carries values must set `loop.next`, one for each.
        """
        first, last = _i64(start), _i64(stop)
        low, high = known(first), known(last)
        if low is not None and high is not None and low < high <= low + step:
            once = Loop(const("i64", low), list(carried))
            yield once
            _check_next(once.next, carried)
            once.results = list(once.next)
            return
        before, done, guarded = (
            self.block,
            self.fresh("done"),
            may_be_empty and (low is None or high is None or low >= high),
        )
        if guarded:
            enter = self.fresh("enter")
            self.branch(self.assign("i1", f"icmp slt i64 {first.text}, {last.text}"), enter, done)
            self.begin(enter)
        entered, head = self.block, self.fresh("loop")
        self.jump(head)
        self.begin(head)
        mark = len(self.lines)
        loop = Loop(Value(self.fresh("%i"), "i64"), [Value(self.fresh("%c"), value.type) for value in carried])
        yield loop
        _check_next(loop.next, carried)
        latch = self.block
        following = self.assign("i64", f"add nuw nsw i64 {loop.index.text}, {step}")
        self.branch(self.assign("i1", f"icmp slt i64 {following.text}, {last.text}"), head, done)
        self.lines[mark:mark] = [
            f"  {phi.text} = phi {phi.type} [ {initial.text}, %{entered} ], [ {later.text}, %{latch} ]"
            for phi, initial, later in zip(
                [loop.index, *loop.values], [first, *carried], [following, *loop.next], strict=True
            )
        ]
        self.begin(done)
        loop.results = list(loop.next)
        if guarded:
            loop.results = [
                self.merge([(initial, before), (later, latch)])
                for initial, later in zip(carried, loop.next, strict=True)
            ]

    @contextmanager
    def when(self, condition: Value, values: Sequence[Value] = (), cold: bool = False) -> Iterator[Branch]:
        """Runs the body if the i1 `condition` holds; `cold` moves it out of the way of the usual path.

        A body that changes `values` sets `branch.next`; `branch.results` are then the changed or the initial ones.
        """
        before, then, done = self.block, self.fresh("then"), self.fresh("done")
        self.branch(condition, then, done, cold)
        self.begin(then)
        part = Branch()
        yield part
        _check_next(part.next, values)
        last = self.block
        self.jump(done)
        self.begin(done)
        part.results = [
            self.merge([(initial, before), (changed, last)]) for initial, changed in zip(values, part.next, strict=True)
        ]

    def switch(
        self, value: Value, cases: Mapping[int, Callable[[], None]], default: Callable[[], None] | None = None
    ) -> None:
        """Runs the thunk of the case that `value` (an integer) equals, or `default`, or nothing."""
        done = self.fresh("done")
        labels = {number: self.fresh("case") for number in cases}
        otherwise = self.fresh("case") if default else done
        arms = " ".join(f"{value.type} {number}, label %{label}" for number, label in labels.items())
        self.emit(f"switch {value.type} {value.text}, label %{otherwise} [ {arms} ]")
        bodies = [(labels[number], thunk) for number, thunk in cases.items()]
        for label, thunk in [*bodies, *([(otherwise, default)] if default else [])]:
            self.begin(label)
            thunk()
            self.jump(done)
        self.begin(done)


def _i64(value: Index) -> Value:
    return const("i64", value) if isinstance(value, int) else value


def _check_next(following: Sequence[Value], initial: Sequence[Value]) -> None:
    if [value.type for value in following] != [value.type for value in initial]:
        raise TypeError(f"the body carries {[v.type for v in initial]} but sets {[v.type for v in following]}")
