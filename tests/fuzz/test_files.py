"""Mutated data files and artifacts: a clean error of the right class, or exactly what the file held before.

GRAPHC_FUZZ_FILES=20000 for the long run (mutants of each kind), GRAPHC_FUZZ_SEED for others. A mutant that fails is
written to corpus/files, in the form that is replayed: put it into the repository with the fix.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mutate
import numpy as np
import pytest

import graphc
from graphc.runtime.artifact import Artifact
from graphc.runtime.data import read
from graphc.runtime.errors import ArtifactError, DataError, GraphcError, InternalError, WeightsError
from graphc.runtime.model import Model
from graphc.runtime.weights import load_tensors, save_tensors

COUNT = int(os.environ.get("GRAPHC_FUZZ_FILES", "200"))
SEED = int(os.environ.get("GRAPHC_FUZZ_SEED", "0"))
CORPUS = Path(__file__).parent / "corpus" / "files"
NET = """\
dim B, D = 3
model net(x: f32[B, D]) -> (y: f32[B, D]):
    param w: f32[D] = ones()
    state seen: f32[D] = zeros()
    y = x * w + seen
train net:
    input t: f32[B, D]
    hyper lr: f32 = 0.1
    loss = mean((y - t) ** 2.0)
    optimizer = adam(lr = lr)
"""


@cache
def net() -> Model:
    model = graphc.compile_source(NET)
    x = np.ones((8, 3), np.float32)
    model.fit({"x": x, "t": x * 2}, epochs=2, batch=4, patience=1, validation=0.25, progress=False)
    return model


@dataclass(frozen=True)
class Kind:
    """A kind of file: how a good one is made, how it is taken in, and the one class of error it may end in.

    `exact`: there is a checksum, so that only the very bytes of the good file may be taken.
    """

    name: str
    make: Callable[[Path], bytes]
    take: Callable[[Path], object]
    error: type[GraphcError]
    exact: bool = False


def _made(write: Callable[[Path], object], name: str) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        write(folder / name)
        return (folder / name).read_bytes()

    return make


def _npz(path: Path) -> None:
    np.savez_compressed(path, a=np.arange(12.0).reshape(3, 4), b=np.arange(5))


def _idx(path: Path) -> None:
    path.write_bytes(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 4, 5)) + bytes(range(60)))


def _take_weights(path: Path) -> None:
    net().load_weights(path)


def _take_checkpoint(path: Path) -> None:
    folder = path.parent / "checkpoints"
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint-000001.safetensors").write_bytes(path.read_bytes())
    net().restore(folder)


def _checkpoint(path: Path) -> None:
    path.write_bytes(net().save_checkpoint(path.parent / "made").read_bytes())


def _weights(path: Path) -> None:
    net().save_weights(path)


def _artifact(path: Path) -> None:
    net().save(path)


def _npy(path: Path) -> None:
    np.save(path, np.arange(24.0, dtype=np.float32).reshape(2, 3, 4))


CSV = b"a,b,c\r\n1,2.5,-3e2\r\n4,5,6\r\n" + b"7,8.25,0\r\n" * 5
IDX_GZ = gzip.compress(b"\0\0\x08\x01\0\0\0\x40" + bytes(64), mtime=0)
KINDS = {
    kind.name: kind
    for kind in (
        Kind("weights.safetensors", _made(_weights, "w"), _take_weights, WeightsError, True),
        Kind("checkpoint.safetensors", _made(_checkpoint, "c"), _take_checkpoint, WeightsError, True),
        Kind("net.gca", _made(_artifact, "n"), Artifact.load, ArtifactError, True),
        Kind("a.npy", _made(_npy, "a.npy"), read, DataError),
        Kind("a.npz", _made(_npz, "a.npz"), lambda path: read(f"{path}:a"), DataError),
        Kind("a-idx3-ubyte", _made(_idx, "i"), read, DataError),
        Kind("a-idx3-ubyte.gz", lambda _: IDX_GZ, read, DataError),
        Kind("a.csv", lambda _: CSV, read, DataError),
        Kind("a.safetensors", lambda _: _foreign(), lambda path: read(f"{path}:x"), DataError),
    )
}


def _foreign() -> bytes:
    """As another program writes it, without a checksum."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return len(header).to_bytes(8, "little") + header + np.arange(6, dtype="<f4").tobytes()


def fault(kind: Kind, data: bytes, good: bytes, folder: Path) -> str | None:
    """What is wrong with how a file is taken; None if nothing is."""
    path = folder / kind.name
    path.write_bytes(data)
    before = net().digest()
    try:
        kind.take(path)
    except InternalError as error:
        return f"InternalError: {error}"
    except kind.error as error:
        if net().digest() != before:
            return f"partly loaded, then: {error}"
        return None if kind.name in str(error) or "checkpoint" in kind.name else f"the file is not named: {error}"
    except Exception as error:
        return "".join(traceback.format_exception(error)[-3:])
    return "taken, though it was damaged" if kind.exact and data != good else None


@pytest.mark.parametrize("name", KINDS)
def test_mutated_files(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    good = kind.make(tmp_path)
    assert fault(kind, good, good, tmp_path) is None
    draws = random.Random(f"{name} {SEED}")
    faults = []
    for number in range(COUNT):
        data = mutate.mutant(draws, good)
        found = fault(kind, data, good, tmp_path)
        if found is not None:
            faults.append(f"seed {SEED}, number {number}: {found}")
            if "GRAPHC_FUZZ_FILES" in os.environ:
                CORPUS.mkdir(parents=True, exist_ok=True)
                (CORPUS / f"{SEED}-{number}-{name}").write_bytes(data)
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:20])


def test_mutated_notes_with_a_right_checksum(tmp_path: Path) -> None:
    """Behind the checksum: the metadata of a checkpoint changed by someone who can compute one."""
    kind = KINDS["checkpoint.safetensors"]
    good = kind.make(tmp_path)
    (tmp_path / "x").write_bytes(good)
    tensors, metadata = load_tensors(tmp_path / "x")
    draws = random.Random(f"notes {SEED}")
    for number in range(COUNT):
        changed = mutate.json_mutant(draws, metadata)
        if not isinstance(changed, dict):
            continue
        save_tensors(tmp_path / "y", tensors, changed)
        found = fault(kind, (tmp_path / "y").read_bytes(), (tmp_path / "y").read_bytes(), tmp_path)
        assert found is None, f"seed {SEED}, number {number}: {found}\n{changed}"
    net().init(0)


def test_mutated_signatures_with_a_right_checksum(tmp_path: Path) -> None:
    """An artifact's header read behind its checksum; such code is never run here."""
    from graphc.runtime.signature import Signature

    good = net().signature.to_json()
    draws = random.Random(f"signatures {SEED}")
    for number in range(COUNT):
        changed = mutate.json_mutant(draws, good)
        try:
            made = Signature.from_json(json.loads(json.dumps(changed)))
        except ArtifactError:
            continue
        except Exception as error:
            raise AssertionError(f"seed {SEED}, number {number}: {changed}") from error
        assert json.dumps(made.to_json(), sort_keys=True) == json.dumps(changed, sort_keys=True)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*")), ids=lambda path: str(path.name))
def test_what_was_found_before(path: Path, tmp_path: Path) -> None:
    kind = KINDS[path.name.split("-", 2)[2]]
    assert fault(kind, path.read_bytes(), kind.make(tmp_path), tmp_path) is None
