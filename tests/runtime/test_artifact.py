"""The artifact file: exact round trip, same bytes, and a clean refusal of every kind of damage."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from dataclasses import replace
from pathlib import Path

import llvmlite.binding as binding
import pytest

from graphc.codegen.target import NAMED, host
from graphc.runtime import cpu
from graphc.runtime.artifact import FORMAT, Artifact, Build, canonical, parse_json, read_regular_file
from graphc.runtime.cpu import FEATURES, features, machine
from graphc.runtime.errors import ArtifactError
from graphc.runtime.signature import (
    Dimension,
    Entry,
    IndexBound,
    Init,
    Leaf,
    Output,
    Requirement,
    Signature,
    Target,
)
from graphc.signature import needed_features


def sample() -> Artifact:
    """A signature that uses every kind of field."""
    leaves = (
        Leaf("image", "input", "f32", ("B", 4), doc="pixels"),
        Leaf("y", "input", "i32", ("B",), train_only=True),
        Leaf("w", "param", "f32", (4, 3), Init("glorot_uniform"), trainable=True),
        Leaf("m/w", "slot", "f32", (4, 3), Init("zeros")),
        Leaf("best", "state", "f32", (), Init("constant", {"value": float("-inf")})),
        Leaf("lr", "hyper", "f32", (), Init("constant", {"value": 1e-3})),
        Leaf("step", "step", "i64"),
    )
    forward = Entry("gc_forward", ("image", "w"), (Output("logits", "f32", ("B", 3)),), ("*", 64, "B"))
    step = Entry(
        "gc_step",
        tuple(one.name for one in leaves),
        (Output("loss", "f32"),),
        ("max", ("*", 12, "B"), 4096),
        ("w", "m/w"),
        (IndexBound("y", 0, 3, ignore=-1),),
    )
    signature = Signature(
        name="tiny",
        version="0.1.0",
        source_hash="0" * 64,
        target=Target("native", "x86_64-unknown-linux-gnu", ("avx2", "fma")),
        dims=(Dimension("B", 1, 1024),),
        leaves=leaves,
        entries={"forward": forward, "step": step},
        requires=(Requirement(("==", ("%", "B", 2), 0), "B is even"),),
        epoch="gc_epoch",
    )
    return Artifact.of(signature, bytes(range(256)) * 3)


def test_round_trip_and_same_bytes() -> None:
    artifact = sample()
    data = artifact.to_bytes()
    again = Artifact.from_bytes(data)
    assert again == artifact
    assert again.to_bytes() == data == sample().to_bytes()
    assert again.builds[0].signature.leaf("best").init == Init("constant", {"value": float("-inf")})


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.gca"
    sample().save(path)
    assert Artifact.load(path) == sample()
    assert os.listdir(tmp_path) == ["a.gca"]  # no temporary file stays


def test_every_truncation_and_every_flipped_byte_is_refused() -> None:
    data = sample().to_bytes()
    for size in [*range(120), *range(120, len(data), 37)]:
        with pytest.raises(ArtifactError):
            Artifact.from_bytes(data[:size])
    rng = random.Random(1)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        with pytest.raises(ArtifactError):
            Artifact.from_bytes(bytes(damaged))
    with pytest.raises(ArtifactError, match="bytes after its end"):
        Artifact.from_bytes(data + b"\0")


def _with_header(change: object, at: int, form: str) -> bytes:
    data = bytearray(sample().to_bytes())
    struct.pack_into(form, data, at, change)
    return _sealed(bytes(data[:-32]))


def _sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    ("at", "form", "value", "message"),
    [
        (8, "<I", FORMAT + 1, "newer graphc"),
        (8, "<I", FORMAT - 1, "older graphc"),
        (12, "<B", 2, "byte order"),
        (13, "<B", 32, "pointer size"),
        (14, "<H", 1, "reserved"),
        (16, "<Q", 2**64 - 1, "lengths"),
        (16, "<Q", 2**63, "lengths"),
        (24, "<Q", 2**31, "lengths"),
        (24, "<Q", 0, "lengths"),
    ],
)
def test_fixed_fields(at: int, form: str, value: int, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Artifact.from_bytes(_with_header(value, at, form), "x.gca")


def _rewritten(header: bytes, code: bytes = b"") -> bytes:
    head = struct.pack("<8sIBBHQQ", b"\x89GCA\r\n\x1a\n", FORMAT, 1, 64, 0, len(header), len(code))
    return _sealed(head + header + code)


def _with_signature(data: object) -> bytes:
    return _rewritten(json.dumps([{"signature": data, "size": 0}], sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(extra=1), "unknown key `extra`"),
        (lambda d: d.pop("dims"), "missing key `dims`"),
        (lambda d: d["leaves"][0].update(dtype="f16"), "unknown dtype"),
        (lambda d: d["leaves"][0].update(dtype=3), r"leaves\[0\].dtype: expected str"),
        (lambda d: d["leaves"][0].update(shape=["Q"]), "unknown dimension `Q`"),
        (lambda d: d["leaves"][0].update(shape=[["__import__", "os"]]), "not a dimension expression"),
        (lambda d: d["leaves"][2].update(init={"kind": "evil", "args": {}}), "unknown initialiser"),
        (lambda d: d["leaves"][2].update(trainable=1), "expected bool"),
        (lambda d: d["leaves"][1].update(name="image"), "given twice"),
        (lambda d: d["entries"]["step"].update(leaves=["nothing"]), "not declared"),
        (lambda d: d.update(dims={}), "expected"),
        (lambda d: d.update(name=None), "expected str"),
        (lambda d: d.update(epoch=""), "the symbol is not a name"),
        (lambda d: d["entries"]["step"].update(symbol="a b"), "the symbol is not a name"),
        (lambda d: d["leaves"][0].update(init={"kind": "zeros", "args": {}}), "keeps no value"),
        (lambda d: d["leaves"][4].update(dtype="i32"), "first value is not of type i32"),
    ],
)
def test_header_schema(change: object, message: str) -> None:
    data = sample().builds[0].signature.to_json()
    change(data)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=message):
        Artifact.from_bytes(_with_signature(data), "x.gca")


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":1,"a":2}', b"NaN", b"1" * 10**6, b"\xff", b"", b"{", b'{"a":Infinity}'],
)
def test_strict_json(text: bytes) -> None:
    with pytest.raises(ArtifactError):
        parse_json(text)


@pytest.mark.parametrize(
    ("builds", "message"),
    [
        ({}, "expected a list of builds"),
        ([], "1 to 16 builds, not 0"),
        ([7], "build 0: expected the keys"),
        ([{"size": 0}], "build 0: expected the keys"),
        ([("tiny", 769)], "build 0: size: 768 bytes of code are left"),
        ([("tiny", -1)], "build 0: size"),
        ([("tiny", True)], "build 0: size"),
        ([("tiny", 700), ("tiny", 69)], "build 1: size: 68 bytes"),
        ([("tiny", 700)], "68 bytes of code belong to no build"),
        ([("tiny", 700), ("other", 68)], "not of the same model"),
        ([("tiny", 768), *[("tiny", 0)] * 16], "1 to 16 builds, not 17"),
    ],
)
def test_lists_of_builds(builds: object, message: str) -> None:
    if isinstance(builds, list) and builds and isinstance(builds[0], tuple):
        known = sample().builds[0].signature.to_json()
        builds = [{"signature": {**known, "name": name}, "size": size} for name, size in builds]
    with pytest.raises(ArtifactError, match=f"^x.gca: header: .*{message}"):
        Artifact.from_bytes(_rewritten(canonical(builds), bytes(768 if builds else 0)), "x.gca")


def test_the_most_demanding_build_that_fits_is_taken() -> None:
    triple = f"{machine()}-unknown-linux-gnu"
    signature = sample().builds[0].signature
    few, more = sorted(features())[:2], sorted(features())[:5]

    def build(name: str, needed: list[str]) -> Build:
        return Build(replace(signature, target=Target(name, triple, tuple(needed))), name.encode())

    unfit = build("x86-64-v9", [*more, "avx4096"]), build("also", ["avx8192"])
    assert Artifact((unfit[0], build("few", few), build("more", more), unfit[1])).runnable().image == b"more"
    assert Artifact((build("few", few), unfit[0])).runnable().image == b"few"
    with pytest.raises(ArtifactError) as refusal:
        Artifact((unfit[0], unfit[1])).runnable()
    assert "x86-64-v9: target features: this CPU lacks avx4096\n  also: " in str(refusal.value)


def test_code_for_the_products_of_another_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled where there are products of bfloat16 pairs names that feature, and is not run without it."""
    signature = sample().builds[0].signature
    artifact = Artifact.of(replace(signature, target=Target("host", host().triple, ("avx512bf16",))), b"code")
    monkeypatch.setattr(cpu, "features", lambda: frozenset({"avx512f"}))
    with pytest.raises(ArtifactError, match="target features: this CPU lacks avx512bf16"):
        artifact.runnable()
    if host().has("avx512bf16"):
        assert "avx512bf16" in needed_features(host())


def test_features_are_those_that_llvm_sees(pytestconfig: pytest.Config) -> None:
    """Another detection of the same CPU, for every feature that an artifact may ask for."""
    if pytestconfig.getoption("--no-avx512"):
        pytest.skip("LLVM is told of a lesser processor")
    seen = binding.get_host_cpu_features()
    assert features() == {name for name in FEATURES if seen.get(name, False)}
    for target in (host(), *NAMED.values()):
        assert set(needed_features(target)) <= set(FEATURES)
        if target.is_x86:
            assert set(NAMED["generic"].cpu_features()) <= set(needed_features(target))


def test_deep_expression_is_refused() -> None:
    data = sample().builds[0].signature.to_json()
    deep: object = 1
    for _ in range(500):
        deep = ["+", deep]
    data["leaves"][0]["shape"] = [deep]
    with pytest.raises(ArtifactError, match="not a dimension expression"):
        Artifact.from_bytes(_with_signature(data))


def test_unusual_files(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "missing", tmp_path / "empty", "/dev/zero", "a\0b"):
        with pytest.raises(ArtifactError):
            Artifact.load(path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    sample().save(tmp_path / "real")
    assert Artifact.load(tmp_path / "link") == sample()


def test_limit_on_size(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(100))
    with pytest.raises(ArtifactError, match="exceed the limit"):
        read_regular_file(tmp_path / "big", 99)
