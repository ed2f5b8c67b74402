"""Backpropagation on numbers that can be followed with a pencil, and the exercise solved by the compiler.

python examples/worked_backprop/worked_backprop.py [--out runs/worked_backprop]
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import graphc
from graphc.driver import stage_graph
from graphc.ir.view import picture
from graphc.runtime.errors import NotAvailableError

SOURCE = Path(__file__).with_suffix(".gc")


def one_step(name: str) -> None:
    """Forward, backward and one step of gradient descent at x = (1, 0), y = 1."""
    model = graphc.compile(SOURCE, model=name)
    x, y = {"x1": 1.0, "x2": 0.0}, 1.0
    print(f"{name}:  x = (1, 0)  y = 1  w = (1, -1)  b = 1")
    print(f"  yhat   = sigma(1*1 - 1*0 + 1) = {model(**x)['yhat']:.4f}")
    figures, gradient = model.gradients(**x, y=y)
    print(f"  C      = {figures['loss']:.4f}")
    print(f"  dC/dw1 = {gradient['w1']:.4f}   dC/dw2 = {gradient['w2'] + 0.0:.4f}   dC/db = {gradient['b']:.4f}")
    model.step(**x, y=y)
    print(f"  w1     = 1 - 0.1 * {gradient['w1']:.4f} = {model.params['w1']:.5f}")


def chain_rule() -> None:
    model = graphc.compile(SOURCE, model="chain_rule")
    print("chain_rule:  f(x) = 20 g(x), g(x) = x^2, df/dx = 40 x")
    for x in (-1.0, 0.5, 3.0):
        made = model(x=x)
        print(f"  x = {x:4.1f}   f = {made['f']:6.1f}   df/dx = {made['df_dx']:6.1f}   40 x = {40 * x:6.1f}")


def beside_the_rules(text: str) -> str:
    """The backward graph's lines of interest, each with the rule of the slide that it is.

    The rules are found from the gradients backwards: dJ/dw2 is a product with delta2, dJ/dw1 one with delta1.
    """
    operands = {name: re.findall(r"%[\w.]+", rest) for name, rest in re.findall(r"^  (%\d+) = (.*)$", text, re.M)}
    w1, b1, w2, b2 = re.findall(r'"gradient/\w+" = (%\d+)', text)
    delta1, delta2 = operands[w1][1], operands[w2][1]
    back, minus_error = operands[delta1][0], operands[delta2][0]
    h, a = operands[w2][0], operands[operands[operands[delta2][1]][1]][1]
    rules = {
        h: "h = sigma(x w1 + b1)",
        a: "a = sigma(h w2 + b2)",
        minus_error: "dJ/da = -(t - a)",
        operands[delta2][1]: "sigma' = a (1 - a)",
        delta2: "delta2 = -(t - a) * a (1 - a)",
        back: "delta2 w2^T: the error, sent back",
        operands[delta1][1]: "sigma' = h (1 - h)",
        delta1: "delta1 = (delta2 w2^T) * h (1 - h)",
        w1: "dJ/dw1 = x^T delta1",
        b1: "dJ/db1 = sum of delta1 over examples",
        w2: "dJ/dw2 = h^T delta2",
        b2: "dJ/db2 = sum of delta2 over examples",
    }
    made = []
    for line in text.splitlines():
        found = re.match(r"  (%\d+) = ", line)
        rule = rules.get(found[1]) if found else None
        made.append(f"{line:62}# {rule}" if rule else line)
    return "\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/worked_backprop"))
    arguments = parser.parse_args()
    one_step("squared_error")
    one_step("log_loss")
    chain_rule()
    model = graphc.compile(SOURCE, model="exercise")
    print("exercise:  J = 1/2 sum (t - a)^2, what `graphc show --stage backward` prints, beside the delta rules")
    print(beside_the_rules(model.text("backward")))
    graph = stage_graph(SOURCE, "backward", entry="gradients", model="squared_error")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for format in ("svg", "png"):
        path = arguments.out / f"backward.{format}"
        try:
            path.write_bytes(picture(graph, format))
            print(path)
        except NotAvailableError as error:
            print(f"no {path.name}: {error}")


if __name__ == "__main__":
    main()
