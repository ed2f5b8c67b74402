"""Rewrite rules and the driver that applies them.

A rule is a plain function `Node -> Node | None` whose docstring's first line is its equation::

    @rule("mul")
    def mul_one(node: Node) -> Node | None:
        \"\"\"x * 1 -> x\"\"\"

Rules look at a node and what it depends on, never at its users: then a node that no rule matches, over inputs that
no rule matches, is final wherever it stands, and one bottom-up walk with a memo reaches the fixed point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from graphc.ir.graph import Graph
from graphc.ir.node import Node, make

BUDGET_PER_NODE = 16
"""Rule applications allowed per node of the graph: far above what terminating rules need."""


@dataclass(frozen=True)
class Rule:
    """One directed equation; it is offered the nodes of `ops` (of every op when empty).

    `fast_math` marks a rule that is exact in real numbers but not in floats; it is off unless asked for.
    """

    name: str
    ops: tuple[str, ...]
    run: Callable[[Node], Node | None]
    fast_math: bool = False

    @property
    def equation(self) -> str:
        return (self.run.__doc__ or "").strip().partition("\n")[0]

    def __call__(self, node: Node) -> Node | None:
        return self.run(node)


def rule(*ops: str, fast_math: bool = False) -> Callable[[Callable[[Node], Node | None]], Rule]:
    """Decorator: makes a function a Rule for nodes of the given ops."""

    def decorate(run: Callable[[Node], Node | None]) -> Rule:
        name = getattr(run, "__name__", "rule").replace("_", "-")
        if not (run.__doc__ or "").strip():
            raise ValueError(f"rule {name} has no equation in its docstring")
        return Rule(name, ops, run, fast_math)

    return decorate


@dataclass
class Rewriter:
    """Applies rules to nodes; `new` maps every node seen to its final form, `applied` counts rules by name.

    When the budget is used up, or rules undo each other, `stopped_at` names the rule and the nodes that remain
    are kept as they are: the result is still equal in meaning.
    """

    rules: Iterable[Rule]
    budget: int
    fast_math: bool = False
    new: dict[Node, Node] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    stopped_at: str = ""

    def __post_init__(self) -> None:
        self._general: list[Rule] = []
        self._by_op: dict[str, list[Rule]] = {}
        self._forward: dict[Node, Node] = {}
        for one in self.rules:
            if one.fast_math and not self.fast_math:
                continue
            if not one.ops:
                self._general.append(one)
            for op in one.ops:
                self._by_op.setdefault(op, []).append(one)

    def normal_form(self, root: Node) -> Node:
        """The node after all rules, on itself and on everything it depends on; iterative."""
        stack = [root]
        while stack:
            node = stack[-1]
            if node in self.new:
                stack.pop()
                continue
            waiting = [x for x in node.inputs if x not in self.new]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            following = self._step(node)
            if following is not None:
                stack.append(following)
        return self.new[root]

    def _step(self, node: Node) -> Node | None:
        """Settles a node whose inputs are final, or returns the node whose final form it shares."""
        follows = self._forward.get(node)
        if follows is None:
            inputs = tuple(self.new[x] for x in node.inputs)
            changed = any(a is not b for a, b in zip(inputs, node.inputs, strict=True))
            follows = make(node.op, *inputs, **node.attrs_dict) if changed else self._apply(node)
            if follows is node:
                self.new[node] = node
                return None
            self._forward[node] = follows
        elif follows not in self.new:  # it depends on this very node: the rules go round in a circle
            self.stopped_at = self.stopped_at or f"a circle of rules at {node.op}"
            self.new[node] = node
            return None
        if follows not in self.new:
            return follows
        self.new[node] = self.new[follows]
        return None

    def _apply(self, node: Node) -> Node:
        for one in (*self._by_op.get(node.op, ()), *self._general):
            result: Node | None = one.run(node)
            if result is None or result is node:
                continue
            if self.budget <= 0:
                self.stopped_at = self.stopped_at or one.name
                return node
            if result.type != node.type:
                raise ValueError(f"rule {one.name} turns {node.type} into {result.type}")
            self.budget -= 1
            self.applied[one.name] = self.applied.get(one.name, 0) + 1
            return result
        return node


def rewrite(graph: Graph, rules: Iterable[Rule], budget: int | None = None, fast_math: bool = False) -> Graph:
    """The graph with every rule applied until none matches; itself if none did.

    `budget` bounds the number of rule applications; by default it is linear in the size of the graph.
    """
    size = len(graph.nodes())
    rewriter = Rewriter(tuple(rules), BUDGET_PER_NODE * size if budget is None else budget, fast_math)
    return graph.with_roots(rewriter.normal_form(root) for root in graph.roots)
