"""The variables of a model: parameters, states, slots, hyper-parameters and the step counter, and their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.runtime import flat, rng
from graphc.runtime.artifact import read_regular_file
from graphc.runtime.buffers import Slab
from graphc.runtime.draws import NativeDraws
from graphc.runtime.durable import write_durably
from graphc.runtime.errors import ArtifactError, WeightsError
from graphc.runtime.initialisers import FIXED, initial, interval
from graphc.runtime.schema import decode, encode
from graphc.runtime.signature import Init, Leaf, Signature
from graphc.runtime.variables import Hypers, Variables
from graphc.runtime.weights import MAX_FILE, assign_all, differences, digest, load_tensors, refuse, save_tensors

VARIABLE_ROLES = ("param", "state", "slot", "hyper", "step", "seed")


@dataclass(frozen=True)
class Cursor:
    """Where `fit` stands: the next row of the shuffled data of an epoch (from 0), and what it has gathered so far.

    `sums` are the figures of the epoch's rows before `row`; within an epoch (`row` > 0) it can only go on in the same
    `rows`, `batch` and `shuffle`. `best*` and `waited` belong to early stopping.
    """

    seed: int
    epoch: int = 0
    row: int = 0
    sums: tuple[float, ...] = ()
    rows: int = 0
    batch: int = 0
    shuffle: bool = True
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


def first_values(signature: Signature, seed: int = 0) -> bytes:
    """What `save_flat` would write of a model right after `init(seed)`; no native code is needed for it."""
    store = Store(signature)
    store.set_hypers()
    store.initialise(seed)
    return b"".join(flat.pack(store._leaves, store.slab.memory))


def variables(signature: Signature) -> list[Leaf]:
    """The leaves that keep a value between calls, always with a step counter, in the order of their memory."""
    leaves = [leaf for leaf in signature.leaves if leaf.role in VARIABLE_ROLES]
    has_counter = any(leaf.role == "step" for leaf in leaves)
    return leaves if has_counter else [*leaves, Leaf("#step", "step", "i64")]  # no entry reads it


class Store:
    """All that a model remembers between calls. `counter` is the number of the next step, as native code reads it."""

    def __init__(self, signature: Signature, draws: NativeDraws | None = None) -> None:
        """`draws` makes first values faster, not different."""
        self.signature, self._draws = signature, draws
        self._leaves = variables(signature)
        self.slab = Slab(self._leaves)
        arrays = self.slab.arrays
        self.counter: NDArray[Any] = arrays[next(leaf.name for leaf in self._leaves if leaf.role == "step")]
        self.params = Variables("param", signature.with_role("param"), arrays)
        self.states = Variables("state", signature.with_role("state"), arrays)
        self.slots = Variables("slot", signature.with_role("slot"), arrays)
        self.hyper = Hypers(signature.with_role("hyper"), arrays)
        self.seed = 0
        self._undrawn: list[Leaf] = []
        self._is_blank = True  # all zeros, as memory comes from the system
        self.cursor: Cursor | None = None
        self.best: dict[str, NDArray[Any]] | None = None
        self._whole: Path | None = None  # the last checkpoint written or restored

    def initialise(self, seed: int) -> None:
        """First values of parameters, slots and states by their initialisers; hyper-parameters keep what they have."""
        self.initialise_later(seed)
        self.draw()

    def initialise_later(self, seed: int) -> None:
        """As `initialise`, but random numbers are drawn when `draw` is called: weights may be loaded before."""
        self._set_seed(rng.check_seed(seed))
        self._undrawn = []
        for leaf in self._leaves:
            if leaf.init is None or leaf.role == "hyper":
                continue
            if leaf.init.kind not in FIXED:
                self._undrawn.append(leaf)
            elif leaf.init.kind != "zeros" or not self._is_blank:
                self.slab.arrays[leaf.name][...] = FIXED[leaf.init.kind](leaf.init)
        self._is_blank = False
        self.counter[...] = 1
        self.cursor, self.best = None, None

    @property
    def is_drawn(self) -> bool:
        """Whether the variables have their values."""
        return not self._undrawn

    def draw(self) -> None:
        """The random first values, if they have not been drawn. Whoever reads or changes variables comes here first."""
        for leaf in self._undrawn:
            if leaf.init is not None:
                self._draw_one(leaf, leaf.init)
        self._undrawn = []

    def _draw_one(self, leaf: Leaf, init: Init) -> None:
        array, within = self.slab.arrays[leaf.name], interval(init, leaf.sizes)
        if self._draws is not None and within is not None:
            self._draws.fill(array, self.seed, leaf.name, within)
        else:
            uniform = self._draws.uniform64 if self._draws is not None else rng.uniform64
            array[...] = initial(init, leaf.name, leaf.sizes, self.seed, uniform)

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

    def save_flat(self, path: str | os.PathLike[str]) -> None:
        """Every variable as it lies in memory, as `graphc.runtime.flat` says."""
        self.draw()
        write_durably(path, *flat.pack(self._leaves, self.slab.memory))

    def load_flat(self, path: str | os.PathLike[str]) -> None:
        """All variables of `save_flat`; `WeightsError`, and nothing changed, if they are those of another model."""
        data = read_regular_file(path, MAX_FILE, WeightsError)
        self.slab.memory[...] = flat.unpack(self._leaves, self.slab.memory.size, data, str(path))
        self._undrawn = []
        seeds = [int(self.slab.arrays[leaf.name]) for leaf in self._leaves if leaf.role == "seed"]
        self.seed = seeds[0] % (1 << 64) if seeds else 0
        self.cursor, self.best = None, None

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
        self.draw()
        save_tensors(path, self.weights(), {"model": self.signature.name})

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """All parameters and states from a file; on any difference `WeightsError` lists them and nothing changes."""
        tensors, _ = load_tensors(path)
        weights = self.weights()
        assign_all(weights, tensors, str(path))
        self._undrawn = [leaf for leaf in self._undrawn if leaf.name not in weights]

    def save_checkpoint(self, folder: str | os.PathLike[str]) -> Path:
        """Everything that decides how training goes on, as a new file in `folder`."""
        self.draw()
        note = _Note(self.signature.name, self.signature.source_hash, int(self.counter) - 1, self.seed, self.cursor)
        best = {f"best.{name}": array for name, array in (self.best or {}).items()}
        from graphc.runtime import checkpoint

        self._whole = checkpoint.write(folder, {**self._lasting(), **best}, encode(note), self._whole)
        return self._whole

    def restore(self, folder: str | os.PathLike[str], other_source: bool = False) -> Path:
        """The newest whole checkpoint of `folder`; `WeightsError` lists all that does not fit, and nothing changes."""
        from graphc.runtime import checkpoint

        tensors, metadata, path = checkpoint.read(folder)
        note = _read_note(metadata, path)
        wrong = []
        if note.model != self.signature.name:
            wrong.append(f"it is of the model `{note.model[:80]}`, this is `{self.signature.name}`")
        if note.source_hash != self.signature.source_hash and not other_source:
            wrong.append(
                "its model file had another text (other_source=True, or --other-source, restores it all the same)"
            )
        best = {name[5:]: tensors.pop(name) for name in list(tensors) if name.startswith("best.")}
        lasting = self._lasting()
        wrong += differences(lasting, tensors)
        if best:
            wrong += [f"best weights: {one}" for one in differences(self.weights(), best)]
        refuse(str(path), wrong)
        assign_all(lasting, tensors, str(path))
        self._undrawn = []
        self._set_seed(note.seed)
        self.cursor = note.cursor
        self.best = {name: array.copy() for name, array in best.items()} or None
        self.counter[...] = note.step + 1
        self._whole = path
        return path

    def digest(self) -> str:
        """SHA-256 over all that training changes: parameters, states, slots, hyper-parameters, step and seed."""
        self.draw()
        return digest(self._lasting(), {"step": int(self.counter) - 1, "seed": self.seed})

    def _lasting(self) -> Mapping[str, NDArray[Any]]:
        """Views of all variables under the keys of a checkpoint."""
        arrays = self.slab.arrays
        slots = {f"slot.{leaf.name}": arrays[leaf.name] for leaf in self.signature.with_role("slot")}
        hypers = {f"hyper.{leaf.name}": arrays[leaf.name] for leaf in self.signature.with_role("hyper")}
        return {**self.weights(), **slots, **hypers}


def _read_note(metadata: Mapping[str, Any], path: Path) -> _Note:
    """The metadata of a checkpoint; `WeightsError` for numbers that no training can have."""
    try:
        note: _Note = decode(metadata, _Note, "metadata")
    except ArtifactError as error:
        raise WeightsError(f"{path}: {error}") from None
    cursor = note.cursor or Cursor(0)
    counts = (cursor.epoch, cursor.row, cursor.rows, cursor.batch, cursor.best_epoch, cursor.waited)
    if not (
        0 <= note.step < (1 << 63) - 1
        and all(0 <= seed < 1 << 64 for seed in (note.seed, cursor.seed))
        and all(0 <= count < 1 << 62 for count in counts)
    ):
        raise WeightsError(f"{path}: metadata: a step, seed or count is out of range")
    return note
