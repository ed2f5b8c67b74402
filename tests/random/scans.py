"""Random model files with scans: nested, reversed, with several carries and emits, over sizes known at the call."""

from __future__ import annotations

import random

HEAD = "precision params = f64, compute = f64\ndim B, T, S, H = 3\n"
SIGNATURE = "model m(x: f64[B, T, H], y: f64[T, S], n: i32[B]) -> (out: f64, kept: f64[B, T, H]):\n"
PARAMETERS = "    param w: f64[H, H] = orthogonal(), u: f64[H] = constant(0.5), k: f64 = constant(0.3)\n"
TRAIN = "train m:\n    input z: f64[B, T, H]\n    loss = out + mean(kept * z)\n    optimizer = sgd(lr=0.1)\n"


class ScanWriter:
    """Writes one model; every expression stays within a few units, so that differences of it are exact enough."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = 0

    def text(self) -> str:
        """The whole file."""
        lines = self.scan("    ", "T", ["x[:, {t}]"], ["y[{t}, 0]"], 0)
        body = "\n".join(lines)
        return HEAD + SIGNATURE + PARAMETERS + body + "\n" + TRAIN

    def name(self) -> str:
        self.names += 1
        return f"v{self.names}"

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def matrix(self, known: list[str], depth: int = 2) -> str:
        """An expression f64[B, H] of values f64[B, H]."""
        if depth == 0:
            return self.pick(*known)
        a, b = self.matrix(known, depth - 1), self.matrix(known, depth - 1)
        return self.pick(
            f"tanh({a} @ w + {b})",
            f"(0.5 * {a} + 0.25 * {b})",
            f"sigmoid({a}) * {b}",
            f"tanh({a} * u)",
            f"softmax({a}, axis=-1) * {b}",
            f"({a} - mean({b}, axis=-1)[:, None])",
            f"where((t0 < n)[:, None], {a}, {b})",
            a,
        )

    def scalar(self, known: list[str], matrices: list[str]) -> str:
        """An expression f64 of scalars f64 and values f64[B, H]."""
        a, b = self.pick(*known), self.pick(*matrices)
        return self.pick(
            f"0.5 * {a} + mean({b})", f"tanh({a} * k) + sum({b} * u) * 0.1", f"{a} * 0.5 + cast(t0, f64) / T"
        )

    def scan(self, pad: str, axis: str, matrices: list[str], scalars: list[str], depth: int) -> list[str]:
        """A scan with one carry of each kind; it binds `out` and `kept` at depth 0."""
        t = f"t{depth}"
        matrices = [one.replace("{t}", self.at(t, axis)) for one in matrices]
        scalars = [one.replace("{t}", self.at(t, axis)) for one in scalars]
        m, q = ("kept_last", "out") if depth == 0 else (self.name(), self.name())
        note = self.pick("", "", "@recompute ")
        lines = [f"{pad}{note}scan {t} in {self.pick('', 'reverse ')}{axis}:"]
        inner = pad + "    "
        start = self.pick("zeros()", "ones()", "broadcast(u, [B, H])" if depth == 0 else matrices[0])
        lines.append(f"{inner}carry {m}: f64[B, H] = {start}, {q}: f64 = {self.pick('0.0', 'k')}")
        matrices, scalars = [*matrices, m], [*scalars, q]
        for _ in range(self.random.randint(0, 2)):
            local = self.name()
            lines.append(f"{inner}{local} = {self.matrix(matrices)}")
            matrices.append(local)
        if depth < 2 and self.random.random() < 0.5:
            found = self.names + 1
            lines += self.scan(inner, "S", matrices, ["y[t0, {t}]", *scalars], depth + 1)
            matrices.append(f"v{found}")
            scalars.append(f"v{found + 1}")
        lines.append(f"{inner}{m} = {self.matrix([*matrices, m])}")
        lines.append(f"{inner}{q} = {self.scalar([*scalars, q], matrices)}")
        if depth == 0:
            lines.append(f"{inner}emit kept: f64[B, T, H] = {self.matrix(matrices, 1)}")
            lines.append(f"{inner}emit line: f64[T] = {self.pick(*scalars)}")
            lines.append(f"{pad}out = out + mean(kept_last) + sum(line * line) / T")
        return lines

    def at(self, t: str, axis: str) -> str:
        return self.pick(t, t, f"{axis} - 1 - {t}", f"{t} - 1")
