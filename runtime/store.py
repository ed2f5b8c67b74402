"""The variables of a model: parameters, states, slots, hyper-parameters and the step counter, and their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime import checkpoint, rng
from graphc.runtime.buffers import Slab
from graphc.runtime.errors import ArtifactError, WeightsError
from graphc.runtime.initialisers import initial
from graphc.runtime.schema import decode, encode
from graphc.runtime.signature import Leaf, Signature
from graphc.runtime.variables import Hypers, Variables
from graphc.runtime.weights import assign_all, load_tensors, save_tensors

VARIABLE_ROLES = ("param", "state", "slot", "hyper", "step", "seed")


@dataclass(frozen=True)
class Cursor:
    """Where `fit` stands: the next row of the shuffled data of an epoch (from 0), and what it has gathered so far.

    `sums` are the figures of the epoch's rows before `row`; `best*` and `waited` belong to early stopping.
    """

    seed: int
    epoch: int = 0
    row: int = 0
    sums: tuple[float, ...] = ()
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0


@dataclass(frozen=True)
class _Note:
    """The metadata of a checkpoint."""

    model: str
    source_hash: str
    step: int
    seed: int
    cursor: Cursor | None


class Store:
    """All that a model remembers between calls. `counter` is the number of the next step, as native code reads it."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        leaves = [leaf for leaf in signature.leaves if leaf.role in VARIABLE_ROLES]
        self._leaves = leaves
        counters = [leaf for leaf in leaves if leaf.role == "step"]
        extra = [] if counters else [Leaf("#step", "step", "i64")]  # no entry reads it, but steps are counted
        self.slab = Slab([*leaves, *extra])
        arrays = self.slab.arrays
        self.counter: NDArray[Any] = arrays[(counters or extra)[0].name]
        self.params = Variables("param", signature.with_role("param"), arrays)
        self.states = Variables("state", signature.with_role("state"), arrays)
        self.slots = Variables("slot", signature.with_role("slot"), arrays)
        self.hyper = Hypers(signature.with_role("hyper"), arrays)
        self.seed = 0
        self.cursor: Cursor | None = None
        self.best: dict[str, NDArray[Any]] | None = None

    def initialise(self, seed: int) -> None:
        """First values of parameters, slots and states by their initialisers; hyper-parameters keep what they have."""
        self._set_seed(rng.check_seed(seed))
        for leaf in self._leaves:
            if leaf.init is not None and leaf.role != "hyper":
                value = initial(leaf.init, leaf.name, leaf.sizes, self.seed)
                self.slab.arrays[leaf.name][...] = value.astype(self.slab.arrays[leaf.name].dtype)
        self.counter[...] = 1
        self.cursor, self.best = None, None

    def _set_seed(self, seed: int) -> None:
        """The seed, also where random ops read it: an i64 of the same 64 bits."""
        self.seed = seed
        for leaf in self.signature.with_role("seed"):
            self.slab.arrays[leaf.name][...] = np.uint64(seed).astype(np.int64)

    def set_hypers(self) -> None:
        """Hyper-parameters back to what the model file says."""
        for leaf in self.signature.with_role("hyper"):
            if leaf.init is not None:
                self.slab.arrays[leaf.name][...] = leaf.init.args.get("value", 0.0)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Views of what inference needs: parameters and states, by path."""
        return {**self.params, **self.states}

    def keep_best(self) -> None:
        """Remember the present weights as the best."""
        self.best = {name: array.copy() for name, array in self.weights().items()}

    def use_best(self) -> None:
        """Go back to the best weights, if there are any; slots stay as they are."""
        for name, array in (self.best or {}).items():
            self.slab.arrays[name][...] = array

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Parameters and states as a safetensors file."""
        save_tensors(path, self.weights(), {"model": self.signature.name})

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """All parameters and states from a file; on any difference `WeightsError` lists them and nothing changes."""
        tensors, _ = load_tensors(path)
        assign_all(self.weights(), tensors, str(path))

    def save_checkpoint(self, folder: str | os.PathLike[str]) -> Path:
        """Everything that decides how training goes on, as a new file in `folder`."""
        note = _Note(self.signature.name, self.signature.source_hash, int(self.counter) - 1, self.seed, self.cursor)
        best = {f"best.{name}": array for name, array in (self.best or {}).items()}
        return checkpoint.write(folder, {**self._lasting(), **best}, encode(note))

    def restore(self, folder: str | os.PathLike[str]) -> Path:
        """The newest whole checkpoint of `folder`; `WeightsError` if it does not fit, and nothing changes."""
        tensors, metadata, path = checkpoint.read(folder)
        try:
            note: _Note = decode(metadata, _Note, "metadata")
        except ArtifactError as error:
            raise WeightsError(f"{path}: {error}") from None
        best = {name[5:]: tensors.pop(name) for name in list(tensors) if name.startswith("best.")}
        lasting, weights = self._lasting(), self.weights()
        if best:  # checked first, so that nothing changes if it does not fit
            assign_all({name: np.empty_like(array) for name, array in weights.items()}, best, f"{path} (best)")
        if (
            note.step < 0
            or not 0 <= note.seed < 1 << 64
            or (note.cursor is not None and not 0 <= note.cursor.seed < 1 << 64)
        ):
            raise WeightsError(f"{path}: metadata: step or seed out of range")
        assign_all(lasting, tensors, str(path))
        self._set_seed(note.seed)
        self.cursor = note.cursor
        self.best = {name: array.copy() for name, array in best.items()} or None
        self.counter[...] = note.step + 1
        return path

    def _lasting(self) -> Mapping[str, NDArray[Any]]:
        """Views of all variables under the keys of a checkpoint."""
        arrays = self.slab.arrays
        slots = {f"slot.{leaf.name}": arrays[leaf.name] for leaf in self.signature.with_role("slot")}
        hypers = {f"hyper.{leaf.name}": arrays[leaf.name] for leaf in self.signature.with_role("hyper")}
        return {**self.weights(), **slots, **hypers}
