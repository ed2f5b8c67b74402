"""Logic gates by perceptrons: weights set by hand, weights learnt, and what one unit cannot do.

python examples/gates/gates.py [--seed 1] [--out runs/gates]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import graphc
from graphc.panels import Panel, lines, regions, write
from graphc.runtime.model import Model

SOURCE = Path(__file__).with_suffix(".gc")
X = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
GATES = {"or_": [-1, 1, 1, 1], "and_": [-1, -1, -1, 1], "nand": [1, 1, 1, -1], "xor": [-1, 1, 1, -1]}
GATES["xnor"] = [1, -1, -1, 1]
EPOCHS = 100


def title(gate: str) -> str:
    return gate.rstrip("_").upper()


def asked(units: Model, gate: str) -> Callable[[np.ndarray], np.ndarray]:
    """What a gate says of points [N, 2]."""
    return lambda points: units(x1=points[:, 0], x2=points[:, 1])[gate]


def by_hand() -> list[Panel]:
    """Prints the truth tables of the units set by hand; a panel for each gate."""
    panels = []
    for name, inputs in (("by_hand", X), ("by_hand_01", (X + 1) / 2)):
        model = graphc.compile(SOURCE, model=name)
        outputs = model(x1=inputs[:, 0], x2=inputs[:, 1])
        print(f"{name:12}  x1  x2  " + "  ".join(f"{title(gate):>4}" for gate in GATES))
        for row, x in enumerate(inputs):
            cells = "  ".join(f"{outputs[gate][row]:4.0f}" for gate in GATES)
            print(f"{'':12}  {x[0]:2.0f}  {x[1]:2.0f}  {cells}")
    units = graphc.compile(SOURCE, model="by_hand")
    for gate, y in GATES.items():
        if gate in ("or_", "and_", "xor"):
            panels.append(regions(asked(units, gate), X, y, title=f"{title(gate)} by hand", margin=0.3))
    return panels


def learn(gate: str, seed: int) -> tuple[Panel, list[float]]:
    """The perceptron rule from random weights, until an epoch passes without a mistake; its mistakes by epoch."""
    model = graphc.compile(SOURCE, model="unit")
    model.init(seed=seed)
    y = np.array(GATES[gate], np.float32)

    def stop(epoch: int, row: dict[str, float]) -> str | None:
        return "stop" if row["loss"] == 0.0 else None

    history = model.fit({"x": X, "y": y}, batch=1, epochs=EPOCHS, seed=seed, callbacks=[stop], progress=False)
    wrong = round(4 * model.evaluate(x=X, y=y)["loss"])
    w, b = model.params["w"], float(model.params["b"])
    unit = f"sgn({w[0]:+.2f} x1 {w[1]:+.2f} x2 {b:+.2f})"
    print(f"{title(gate):4} by the perceptron rule: {unit} after {len(history)} epochs, {wrong} of 4 wrong")
    panel = regions(
        lambda points: model(x=points)["z"], X, y, title=f"{title(gate)} learnt by one unit: {wrong} wrong", margin=0.3
    )
    return panel, [4 * loss for loss in history["loss"]]


def learn_by_network(seed: int) -> Panel:
    """XOR by two hidden units and gradient descent."""
    model: Model = graphc.compile(SOURCE, model="network")
    model.init(seed=seed)
    y = np.array(GATES["xor"], np.float32)
    model.fit({"x": X, "y": y}, batch=4, epochs=400, seed=seed, progress=False)
    figures = model.evaluate(x=X, y=y)
    print(f"XOR  by a network of 2 + 1 units: {round(4 * figures['mistakes'])} of 4 wrong, loss {figures['loss']:.4f}")
    return regions(model.predict, X, y, title="XOR learnt by 2 + 1 units: 0 wrong", margin=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1, help="of the initial weights and the order of examples")
    parser.add_argument("--out", type=Path, default=Path("runs/gates"))
    arguments = parser.parse_args()
    panels = by_hand()
    learnt = {title(gate): learn(gate, arguments.seed) for gate in ("or_", "and_", "xor")}
    mistakes = {gate: found[:30] for gate, (_, found) in learnt.items()}
    panels.append(lines(mistakes, title="one unit: mistakes in an epoch of 4 examples"))
    panels += [panel for panel, _ in learnt.values()]
    panels.append(learn_by_network(arguments.seed))
    print(write(arguments.out / "gates.png", panels, columns=4))


if __name__ == "__main__":
    main()
