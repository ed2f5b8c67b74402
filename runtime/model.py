"""Model: a compiled network, what a user's program holds.

    model(image=x)["logits"]            model.step(image=x, y=y)["loss"]            model.fit({"image": x, "y": y})

Safe to share between threads: one lock a model, held during native calls (which let other Python threads run). A call
from inside a call of the same model (from a signal handler, say) is a `BusyError`.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from graphc.runtime.artifact import Artifact
from graphc.runtime.buffers import address, physical_memory
from graphc.runtime.call_path import never
from graphc.runtime.draws import NativeDraws
from graphc.runtime.entry import Arena, BoundEntry
from graphc.runtime.errors import ArtifactError, InputTypeError, NotAvailableError, OptionError, counted, shown
from graphc.runtime.library import Library
from graphc.runtime.options import check_count, check_path
from graphc.runtime.signature import GRADIENT, Signature
from graphc.runtime.store import Store
from graphc.runtime.threads import STOP, WORKER, Team, check_threads
from graphc.runtime.variables import Hypers, Variables, unknown_name

if TYPE_CHECKING:  # what a program that only predicts does not need is loaded when it is used
    from graphc.runtime.bounds import BoundsCheck
    from graphc.runtime.dataset import Dataset
    from graphc.runtime.epoch import BatchLoop
    from graphc.runtime.finite import FiniteCheck
    from graphc.runtime.history import History
    from graphc.runtime.inspection import Inspection


CHUNK_SECONDS = 0.06  # of native work between looks at signals and the progress bar
_models: weakref.WeakSet[Model] = weakref.WeakSet()


class Model:
    """Compiled functions over shared parameters. Made by `graphc.compile` or `graphc.load`; initialised with seed 0."""

    def __init__(
        self,
        artifact: Artifact,
        inspect: Callable[[], Inspection] | None = None,
        name: str = "artifact",
        threads: int | None = None,
    ) -> None:
        """Load the code; `ArtifactError` starting with `name` if this machine cannot run it.

        `inspect` gives what the compiler knows; it is asked when that is wanted.
        """
        self.artifact = artifact
        self._inspect = inspect
        self._inspected: Inspection | None = None
        try:
            build = artifact.runnable()
            self._signature = signature = build.signature
            symbols = [entry.symbol for entry in signature.entries.values()]
            symbols += [symbol for symbol in (signature.epoch, signature.call, signature.draw) if symbol]
            parallel = any(entry.parallel for entry in signature.entries.values())
            self._library = Library(build.image, [*symbols, *((WORKER, STOP) if parallel else ())])
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}") from None
        draws = NativeDraws(self._library, signature.draw) if signature.draw else None
        self._store = Store(signature, draws)
        self._arena = Arena(physical_memory())
        self._team = Team(threads, self._library if parallel else None)
        self._entries = {
            key: BoundEntry(key, signature, self._library, self._store.slab, self._arena, self._team)
            for key in signature.entries
        }
        self._epoch = self._library.function(signature.epoch, 1) if signature.epoch else None
        self._counter: Any = ctypes.c_int64.from_address(address(self._store.counter))
        self._lock = threading.RLock()  # the arena knows whether this very thread is inside a call
        self._arena.use_lock(self._lock)
        self._watch: FiniteCheck | BoundsCheck | None = None
        self._check: str | None = None
        if "step" in self._entries:
            self._entries["step"].count_steps(self._store.counter)
        self._use_builtins()
        self._store.set_hypers()
        self._store.initialise_later(0)
        _models.add(self)

    # --- what it is

    @property
    def signature(self) -> Signature:
        """Inputs, outputs, dimensions and entries."""
        return self._signature

    @property
    def name(self) -> str:
        """The model's name in its file."""
        return self.signature.name

    def _drawn(self) -> Store:
        """The variables, with their first values: a model that is loaded draws them when they are needed."""
        if not self._store.is_drawn:
            with self._lock:
                self._store.draw()
        return self._store

    @property
    def params(self) -> Variables:
        """Parameters by path, as writable views: `model.params["c1.w"][...] = w`."""
        return self._drawn().params

    @property
    def states(self) -> Variables:
        """States (running means and the like) by path."""
        return self._drawn().states

    @property
    def slots(self) -> Variables:
        """The optimiser's slots: `m/c1.w`."""
        return self._drawn().slots

    @property
    def hyper(self) -> Hypers:
        """Hyper-parameters as numbers: `model.hyper["lr"] = 1e-4`."""
        return self._store.hyper

    @property
    def steps(self) -> int:
        """How many steps have been made since `init`."""
        return int(self._counter.value) - 1

    @property
    def seed(self) -> int:
        """The seed of the last `init`."""
        return self._store.seed

    @property
    def team(self) -> Team:
        """The threads that calls run on."""
        return self._team

    @property
    def threads(self) -> int:
        """The most threads that a call uses; fewer where the work is not worth them. What is computed is the same."""
        return self._team.threads

    @property
    def arena_limit(self) -> int:
        """Bytes of scratch memory a call may use (at first all the memory of the machine); larger sizes are refused."""
        return self._arena.limit

    @arena_limit.setter
    def arena_limit(self, size: int) -> None:
        self._arena.limit = check_count("arena_limit", size)

    @property
    def check(self) -> str | None:
        """What calls are watched for: None, "finite" or "bounds".

        "finite": NaN and infinity are a `NonFiniteError` that names the op, the line of the model file and the index of
        the first such value; the variables are as they were before the call. That needs the source, so it is not for
        models loaded from an artifact. "bounds": code runs between guard pages (graphc.runtime.bounds); slow.
        """
        return self._check

    @check.setter
    def check(self, what: str | None) -> None:
        from graphc.runtime.bounds import BoundsCheck
        from graphc.runtime.finite import FiniteCheck

        watch: FiniteCheck | BoundsCheck | None = None
        if what == "finite":
            self._check_inspection()
            watch = FiniteCheck(self._store, lambda *call: self.inspection.explain_non_finite(*call))
        elif what == "bounds":
            watch = BoundsCheck(self._store, self._arena.limit)
        elif what is not None:
            raise OptionError(f'check must be None, "finite" or "bounds", not {shown(what)}')
        with self._lock:
            self._watch, self._check = watch, what
            self._use_builtins()

    def _use_builtins(self) -> None:
        """Calls that are watched are made in Python."""
        builtins = {key: never if self._watch else bound.builtin for key, bound in self._entries.items()}
        self._quick_forward = builtins.get("forward", never)
        self._quick_step, self._quick_evaluate = builtins.get("step", never), builtins.get("evaluate", never)

    def init(self, seed: int = 0) -> None:
        """First values from the initialisers, slots and step counter back to the start. Hyper-parameters stay."""
        with self._lock:
            self._store.initialise(seed)

    # --- calls

    def __call__(self, inputs: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, NDArray[Any]]:
        """The outputs by name, in fresh arrays; inputs by name or as a mapping."""
        outputs: dict[str, NDArray[Any]] | None = self._quick_forward(inputs, named)
        if outputs is None:
            with self._lock:
                outputs = self._call("forward", _arguments(inputs, named))[1]
        return outputs

    def predict(self, *inputs: Any, output: str | None = None, batch: int | None = None) -> NDArray[Any]:
        """One output, of inputs in the order they are declared; `output` names it if there are several.

        `batch` bounds the memory: so many rows at a time go through the network.
        """
        bound = self._entry("forward")
        outputs = bound.outputs
        if output is None and len(outputs) != 1:
            raise OptionError(f"{self.name} has the outputs {', '.join(outputs)}: say which, as output=...")
        name = output if output is not None else next(iter(outputs))
        if name not in outputs:
            raise unknown_name("output", name, list(outputs))
        names = bound.names
        if len(inputs) != len(names):
            takes = f"{counted(len(names), 'input')} ({', '.join(names)})"
            raise InputTypeError(f"{self.name} takes {takes}, not {len(inputs)}")
        given = dict(zip(names, inputs, strict=True))
        if batch is None:
            return self(given)[name]
        from graphc.runtime.dataset import Dataset

        data = Dataset(self.signature, [leaf for leaf, _ in bound.given], given)
        size = check_count("batch", batch)
        if not data.axis.symbol or outputs[name].shape[:1] != (data.axis.symbol,):
            raise NotAvailableError(f"output `{name}` cannot be computed in batches")
        pieces = [self(data.rows_of(start, start + size))[name] for start in range(0, data.rows, size)]
        return np.concatenate(pieces)

    def step(self, inputs: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, Any]:
        """One training step in place; the loss and the metrics, as they were before the update."""
        figures: dict[str, Any] | None = self._quick_step(inputs, named)
        if figures is None:
            with self._lock:
                figures, _ = self._call("step", _arguments(inputs, named))
                self._counter.value += 1
        return figures

    def evaluate(
        self, inputs: Mapping[str, Any] | None = None, /, *, batch: int | None = None, **named: Any
    ) -> dict[str, Any]:
        """The loss and the metrics; nothing is updated. With `batch` in batches, averaged over the rows."""
        figures: dict[str, Any] | None = self._quick_evaluate(inputs, named) if batch is None else None
        if figures is not None:
            return figures
        given = _arguments(inputs, named)
        if batch is None:
            with self._lock:
                return self._call("evaluate", given)[0]
        loop = self.batches("evaluate", self.dataset("evaluate", given), check_count("batch", batch))
        self.run_batches(loop)
        return dict(loop.means())

    def gradients(
        self, inputs: Mapping[str, Any] | None = None, /, **named: Any
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The loss and metrics, and the gradient of each trained parameter by path; nothing is updated."""
        with self._lock:
            figures, arrays = self._call("gradients", _arguments(inputs, named))
        plain = {name: array for name, array in arrays.items() if not name.startswith(GRADIENT)}
        grads = {name[len(GRADIENT) :]: array for name, array in arrays.items() if name.startswith(GRADIENT)}
        return {**figures, **plain}, grads

    def apply(self, gradients: Mapping[str, Any]) -> None:
        """The optimiser's update (and clipping) with gradients by parameter path; counts as a step."""
        if not isinstance(gradients, Mapping):
            raise InputTypeError(f"gradients are given as one mapping by path, not as a {type(gradients).__name__}")
        with self._lock:
            self._call("apply", gradients)
            self._counter.value += 1

    def fit(
        self,
        data: Mapping[str, Any],
        *,
        batch: int = 32,
        epochs: int = 1,
        validation: float | Mapping[str, Any] | None = None,
        patience: int | None = None,
        callbacks: Sequence[Callable[[int, dict[str, Any]], object]] = (),
        shuffle: bool = True,
        seed: int | None = None,
        progress: bool | str = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        on_checkpoint: Callable[[int], object] | None = None,
        resume: bool = False,
    ) -> History:
        """Train on arrays in memory; see `graphc.runtime.fit` for what each argument means."""
        from graphc.runtime.fit import FitOptions
        from graphc.runtime.fit import fit as run_fit

        several = (callbacks,) if callable(callbacks) or not isinstance(callbacks, Iterable) else tuple(callbacks)
        options = FitOptions(
            batch, epochs, validation, patience, several, shuffle, seed, progress,
            checkpoint, checkpoint_every, on_checkpoint, resume,
        )  # fmt: skip
        return run_fit(self, data, options)

    # --- batches, for `fit`

    @property
    def store(self) -> Store:
        """The variables, and where training stands."""
        return self._drawn()

    def dataset(self, key: str, data: Mapping[str, Any]) -> Dataset:
        """The inputs of an entry for many batches, checked."""
        if not isinstance(data, Mapping):
            raise InputTypeError(f"the data must be a mapping of input names to arrays, not a {type(data).__name__}")
        from graphc.runtime.dataset import Dataset

        bound = self._entry(key)
        return Dataset(self.signature, [leaf for leaf, _ in bound.given], data, bound.unused)

    def batches(self, key: str, data: Dataset, batch: int, rows: int | None = None) -> BatchLoop:
        """A native loop over `rows` rows (all) of `data`; the `step` entry counts steps."""
        from graphc.runtime.epoch import BatchLoop

        bound = self._entry(key)
        self._drawn()
        if self._epoch is None:
            raise NotAvailableError(f"{self.name} was compiled without the batch loop")
        with self._lock:
            used = data.check_batch(batch, data.rows if rows is None else rows)
            loop = BatchLoop(bound, self._epoch, data, batch, used, self._store.slab, self._arena)
        if key == "step":
            loop.count_steps(self._store.counter)
        return loop

    def use_best(self) -> None:
        """The best weights that `fit` has seen, if it watched for them."""
        with self._lock:
            self._store.use_best()

    def run_batches(
        self, loop: BatchLoop, tell: Callable[[int], None] | None = None, batches: int | None = None
    ) -> None:
        """A loop to its end or for so many `batches`, in native calls of about CHUNK_SECONDS.

        Between them signals are heard, other threads get their turn, and `tell` hears how many rows a call has done.
        """
        stop = loop.rows if batches is None else min(loop.rows, loop.position + batches * loop.batch)
        while loop.position < stop:
            before, started = loop.position, time.perf_counter()
            with self._lock:
                batches = min(loop.pace, -(-(stop - before) // loop.batch))
                if self._watch is None:
                    loop.run(batches)
                else:
                    self._watch.run(loop, batches)
            spent = time.perf_counter() - started
            if tell is not None:
                tell(loop.position - before)
            time.sleep(0)  # a thread that waits for the lock gets it
            loop.pace = max(1, min(loop.pace * 8, int(batches * CHUNK_SECONDS / max(spent, 1e-9))))

    def _call(self, key: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Figures and arrays of an entry, watched if that was asked for."""
        bound = self._entry(key)
        self._drawn()
        return bound.run(given) if self._watch is None else self._watch.call(bound, given)

    def _entry(self, key: str) -> BoundEntry:
        if key not in self._entries:
            raise NotAvailableError(f"{self.name} has no `train` section, so there is no `{key}`")
        return self._entries[key]

    # --- files

    def save(self, path: str | os.PathLike[str]) -> None:
        """The code and the signature as a `.gca` file; weights are saved apart."""
        self.artifact.save(check_path(path))

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Parameters and states as safetensors."""
        with self._lock:
            self._store.save_weights(check_path(path))

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """All parameters and states from safetensors; `WeightsError` lists every difference and changes nothing."""
        with self._lock:
            self._store.load_weights(check_path(path))

    def save_flat(self, path: str | os.PathLike[str]) -> None:
        """All variables (slots, hyper-parameters and step too) as one block, for the model's library in C."""
        with self._lock:
            self._store.save_flat(check_path(path))

    def load_flat(self, path: str | os.PathLike[str]) -> None:
        """All variables from `save_flat` or from C; `WeightsError` changes nothing if they are another model's."""
        with self._lock:
            self._store.load_flat(check_path(path))

    def save_checkpoint(self, folder: str | os.PathLike[str]) -> Path:
        """All that decides how training goes on, into a folder that keeps the last two."""
        with self._lock:
            return self._store.save_checkpoint(check_path(folder))

    def restore(self, folder: str | os.PathLike[str], *, other_source: bool = False) -> Path:
        """The newest checkpoint of a folder; then `fit(..., resume=True)` goes on exactly.

        `WeightsError` lists every difference and changes nothing. That the model's text is another is a difference
        too, unless `other_source`.
        """
        with self._lock:
            return self._store.restore(check_path(folder), other_source)

    def digest(self) -> str:
        """A SHA-256 in hexadecimal over all that training changes: equal if and only if all its bits are."""
        with self._lock:
            return self._store.digest()

    # --- how it was made

    def text(self, stage: str = "graph") -> str:
        """The compiler's text of a stage: ast, graph, backward, optimised, kernels, llvm, asm."""
        return self.inspection.text(stage)

    def explain(self, topic: str = "fusion") -> str:
        """Why the compiler did what it did."""
        return self.inspection.explain(topic)

    def memory(self) -> str:
        """The memory plan."""
        return self.inspection.memory()

    def to_dot(self, stage: str = "graph") -> str:
        """The graph of a stage in DOT."""
        return self.inspection.to_dot(stage)

    @property
    def inspection(self) -> Inspection:
        """What the compiler knows of the model; `NotAvailableError` if it was loaded from an artifact."""
        if self._inspected is None:
            self._inspected = self._check_inspection()()
        return self._inspected

    def _check_inspection(self) -> Callable[[], Inspection]:
        if self._inspect is None:
            reason = "was loaded from an artifact, which holds code only; compile its source"
            raise NotAvailableError(f"{self.name} {reason}")
        return self._inspect

    def __repr__(self) -> str:
        from graphc.runtime.display import describe

        return describe(self.signature)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """For Jupyter: the summary as text and as a table."""
        from graphc.runtime.display import html

        return {"text/plain": repr(self), "text/html": html(self.signature)}

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise InputTypeError("a model cannot be pickled or copied; use save and save_weights, or compile it again")


def load(path: str | os.PathLike[str], threads: int | None = None) -> Model:
    """The model of a `.gca` file, without the compiler. Its code will run: load only files you trust.

    `threads` says how many threads a call may use; None: as many CPUs as this process may use (`GRAPHC_THREADS`).
    """
    if threads is not None:
        check_threads(threads)
    file = check_path(path)
    return Model(Artifact.load(file), name=str(file), threads=threads)


def _arguments(inputs: Mapping[str, Any] | None, named: dict[str, Any]) -> Mapping[str, Any]:
    if inputs is None:
        return named
    if not isinstance(inputs, Mapping):
        raise InputTypeError(f"inputs are given by name, or as one mapping, not as a {type(inputs).__name__}")
    if named:
        raise InputTypeError("inputs are given by name or as one mapping, not both")
    return inputs


def _renew_locks() -> None:
    """In a forked child: a lock that another thread held at the fork would never be released."""
    for model in _models:
        model._lock = threading.RLock()
        model._arena.use_lock(model._lock)
        model._arena.busy = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
