"""The workloads W1 to W10 in the order of their names, then those without a number."""

from __future__ import annotations

from . import cnn, dense, kernels, lstm, resnet, transformer
from .case import Case

MODULES = [dense, cnn, lstm, resnet, transformer, kernels]


def order(case: Case) -> int:
    number = case.name.partition("-")[0].removeprefix("W")
    return int(number) if number.isdigit() else 99


CASES: list[Case] = sorted((case for module in MODULES for case in module.CASES), key=order)

# one of each kind
QUICK = ["W1", "W2-b32", "W3", "W4", "W5", "W6", "W7-train", "W8-train"]
QUICK += ["W9-mlp-b1", "W9-cnn-b1", "W10-gemm-1024", "W10-chain", "LSTM-T64-train"]


def select(names: list[str]) -> list[Case]:
    """The cases of the names: `W2-b32`, or `W2` for all of its kind; all of them for none."""
    for name in names:
        if not any(case.name == name or case.name.startswith(f"{name}-") for case in CASES):
            raise SystemExit(f"there is no workload {name}; there are {', '.join(case.name for case in CASES)}")
    return [c for c in CASES if not names or any(c.name == n or c.name.startswith(f"{n}-") for n in names)]
