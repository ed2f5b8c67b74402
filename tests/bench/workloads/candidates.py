"""The candidates of a case by name, made ready on demand: graphc, NumPy, PyTorch, JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from .case import COMPARED_RATE, Case, Twin, Values

TOLERANCE = 1e-3
STEPS = 4
ALL = ("numpy", "torch", "jax")


def graphc_model(case: Case, threads: int) -> Any:
    import graphc

    return graphc.compile_source(case.text, name=case.name, dims=dict(case.dims), threads=threads)


def graphc_twin(case: Case, model: Any, data: Values) -> Twin:
    if case.optimizer:
        return Twin(lambda: model.step(data)["loss"], lambda rate: model.hyper.__setitem__("lr", rate))
    return Twin(lambda: next(iter(model(data).values())))


def first_values(model: Any) -> dict[str, Any]:
    return {name: np.array(array) for name, array in model.params.items()}


def peers(case: Case, values: Values, data: Values, threads: int, compiled: bool) -> dict[str, Callable[[], Twin]]:
    """Peers that are installed and have the workload, by name; each is made by a call."""
    from dataclasses import replace

    found: dict[str, Callable[[], Twin]] = {}
    numpy, torch, jax = case.numpy, case.torch, case.jax
    if numpy is not None:
        found["numpy"] = lambda: numpy(case, values, data)
    if torch is not None and find_spec("torch") is not None:

        def make(**settings: Any) -> Twin:
            from torch import set_num_threads

            set_num_threads(threads)
            return torch(replace(case, settings={**case.settings, **settings}), values, data)

        found["torch"] = make
        if compiled:
            found["torch.compile"] = lambda: make(compile=True)
    if jax is not None and find_spec("jax") is not None:
        found["jax"] = lambda: jax(case, values, data)
    return found


def compare(case: Case, threads: int = 1, model: Any = None, among: Sequence[str] = ALL) -> dict[str, float]:
    """peer -> the largest difference to graphc over a few steps, relative to the largest value (loss, or output).

    Of the peers, those named in `among`.  `model` is the case's, if there is one: it begins anew, and is as it was
    first afterwards.
    Raises ValueError if a difference is above TOLERANCE, or if the loss does not change, which would show nothing.
    """
    data = case.data()
    if case.compared or model is None:
        case = case.without_randomness()
        model = graphc_model(case, threads)
    model.init(0)
    values = first_values(model)
    ours = trajectory(case, graphc_twin(case, model, data))
    model.init(0)
    if case.optimizer and not abs(ours[-1] - ours[0]) > 3 * TOLERANCE * abs(ours[0]):
        raise ValueError(f"{case.name}: the loss stays at {ours[0]}")
    differences: dict[str, float] = {}
    for name, make in peers(case, values, data, threads, compiled=False).items():
        if name not in among:
            continue
        theirs = trajectory(case, make())
        if theirs.shape != ours.shape:
            raise ValueError(f"{case.name}: {name} gives {theirs.shape}, graphc {ours.shape}")
        difference = float(np.abs(theirs - ours).max() / np.abs(ours).max())
        if not difference <= TOLERANCE:
            raise ValueError(f"{case.name}: {name} and graphc differ by {difference:.2g}, relatively")
        differences[name] = difference
    return differences


def trajectory(case: Case, twin: Twin) -> Any:
    """The losses of a few steps, or the output."""
    if not case.optimizer:
        return np.asarray(twin.run())
    twin.set_rate(case.settings.get("compared_rate", COMPARED_RATE[case.optimizer]))
    return np.array([float(twin.run()) for _ in range(STEPS)])
