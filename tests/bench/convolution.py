"""Speed of convolutions as compiled graphs: GFLOP/s of conv and both gradients, per cent of the FMA peak, torch beside.

    python tests/bench/convolution.py [WORD ..]     only rows whose name contains a WORD

One thread.  Taps that lie on padding count as work.  torch (if there is one) runs channels-last and plain; the better
counts.  Padding, copies of weights and clearing of sums are part of our times.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from contraction import aligned, best, peak_function

from graphc.codegen.entry import emit_entry, plan_entry
from graphc.codegen.llvm import Module, compile_object
from graphc.codegen.target import host
from graphc.ir.graph import Graph
from graphc.ir.node import Node, leaf, make
from graphc.ir.types import F32, TensorType
from graphc.linking.link import link
from graphc.passes import levels
from graphc.runtime.library import Library

# name, images, height and width, channels, outputs, taps, padding, stride, groups
ROWS = [
    ("LeNet conv1 28x28x1 5x5->32 b64", 64, 28, 1, 32, 5, 2, 1, 1),
    ("LeNet conv2 14x14x32 5x5->64 b64", 64, 14, 32, 64, 5, 2, 1, 1),
    ("ResNet20 32x32x16 3x3->16 b32", 32, 32, 16, 16, 3, 1, 1, 1),
    ("ResNet20 16x16x32 3x3->32 b32", 32, 16, 32, 32, 3, 1, 1, 1),
    ("ResNet20 8x8x64 3x3->64 b32", 32, 8, 64, 64, 3, 1, 1, 1),
    ("ResNet20 32x32x16->32 3x3 s2 b32", 32, 32, 16, 32, 3, 1, 2, 1),
    ("ResNet20 first 32x32x3 3x3->16 b32", 32, 32, 3, 16, 3, 1, 1, 1),
    ("VGG-ish 56x56x64 3x3->64 b4", 4, 56, 64, 64, 3, 1, 1, 1),
    ("LeNet-5 conv1 28x28x1 5x5->6 b64", 64, 28, 1, 6, 5, 2, 1, 1),
    ("LeNet-5 conv2 14x14x6 5x5->16 b64", 64, 14, 6, 16, 5, 0, 1, 1),
    ("shortcut 32x32x16 1x1->32 s2 b32", 32, 32, 16, 32, 1, 0, 2, 1),
    ("inception 14x14x192 1x1->64 b16", 16, 14, 192, 64, 1, 0, 1, 1),
    ("whole 7x7x64 7x7->128 b32", 32, 7, 64, 128, 7, 0, 1, 1),
    ("VGG-ish 14x14x256 3x3->256 b4", 4, 14, 256, 256, 3, 1, 1, 1),
    ("28x28x128 3x3->128 b4", 4, 28, 128, 128, 3, 1, 1, 1),
    ("grouped 28x28x64 3x3 4 groups b16", 16, 28, 64, 64, 3, 1, 1, 4),
    ("depthwise 28x28x64 3x3 b16", 16, 28, 64, 64, 3, 1, 1, 64),
]
Run = Callable[[int], None]


class Native:
    """A graph as a native call on its own arrays: no copies, no checks."""

    def __init__(self, graph: Graph, values: dict[str, Any]) -> None:
        start = time.process_time()
        code = plan_entry("entry", levels.pipeline("O2").run(graph), host())
        module = Module(host())
        emit_entry(code, module, ())
        self.library = Library(link(compile_object(module.text(), host())), ["entry"])
        self.seconds = time.process_time() - start
        self.leaves = {x: aligned(x.shape) for x in graph.leaves}
        for node, array in self.leaves.items():
            array[...] = values[node.attr("name")]
        self.outputs = {name: aligned(x.shape) for name, x in graph.outputs.items()}
        arrays = [*self.leaves.values(), *self.outputs.values()]
        self.table = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        self.arena = aligned((code.arena_bytes({}) // 4 + 64,))
        function = self.library.function(
            "entry", 4
        )  # leaves and outputs, sizes, scratch memory, the threads (none but ours)
        arguments = ctypes.addressof(self.table), None, self.arena.ctypes.data, None

        def run(times: int) -> None:
            for _ in range(times):
                function(*arguments)

        self.run = run


def measure(row: tuple[Any, ...], peak: Run, seconds: float = 0.4) -> str:
    name, images, length, channels, outputs, taps, pad, stride, groups = row
    attrs = {"stride": (stride,) * 2, "low": (pad,) * 2, "high": (pad,) * 2, "dilation": (1, 1), "groups": groups}
    x = leaf("input", "x", TensorType(F32, (images, length, length, channels)))
    w = leaf("param", "w", TensorType(F32, (taps, taps, channels // groups, outputs)))
    y = make("conv", x, w, **attrs)
    dy = leaf("input", "dy", y.type)
    nodes: list[Node] = [y, *(g for g in y.definition.vjp(y, dy) if g is not None)]
    random = np.random.default_rng(0)
    values = {n: random.standard_normal(t.shape).astype(np.float32) for n, t in (("x", x), ("w", w), ("dy", dy))}
    natives = [
        Native(Graph("bench", used, {"r": node}), values)
        for node, used in zip(nodes, ((x, w), (dy, w), (x, dy)), strict=True)
    ]
    flops = 2.0 * y.type.elements * taps * taps * channels // groups / 1e9  # type: ignore[operator]
    rivals = torch_runs(values, stride, pad, groups, [n.outputs["r"] for n in natives], natives)
    text = f"{name:36s} {flops * 1e3:6.0f} MFLOP"
    for number, what in enumerate(("conv", "data", "weights")):
        times = best(natives[number].run, peak, *rivals[number], seconds=seconds)
        top = 1000 * 16 * 2 * host().lanes(4) / times[1] / 1e9
        speed = flops / times[0]
        rival = flops / min(times[2:]) if times[2:] else 0.0
        text += f" | {what} {speed:6.1f} {100 * speed / top:4.0f}% torch {rival:6.1f} {times[0] * 1e6:7.1f} us"
    return text + f" | compile {sum(n.seconds for n in natives) * 1e3:.0f} ms"


def torch_runs(
    values: dict[str, Any], stride: int, pad: int, groups: int, ours: list[Any], natives: list[Native]
) -> list[list[Run]]:
    """torch's runs of the three, after ours were compared with them; none without torch."""
    try:
        import torch
    except ImportError:
        return [[], [], []]
    torch.set_num_threads(1)
    x, dy = (torch.from_numpy(values[k]).permute(0, 3, 1, 2) for k in ("x", "dy"))
    w = torch.from_numpy(np.ascontiguousarray(values["w"].transpose(3, 2, 0, 1)))
    last = torch.channels_last
    formats = [(x.contiguous(), w, dy.contiguous()), tuple(t.contiguous(memory_format=last) for t in (x, w, dy))]

    def forward(a: Any, b: Any, _: Any) -> Any:
        return torch.nn.functional.conv2d(a, b, stride=stride, padding=pad, groups=groups)

    def backward(mask: list[bool]) -> Callable[..., Any]:
        return lambda a, b, c: torch.ops.aten.convolution_backward(
            c, a, b, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, mask
        )

    kinds = [forward, backward([True, False, False]), backward([False, True, False])]
    runs: list[list[Run]] = []
    for number, kind in enumerate(kinds):
        natives[number].run(1)
        found = kind(*formats[0])
        found = found if number == 0 else found[number - 1]
        found = found.permute(2, 3, 1, 0) if number == 2 else found.permute(0, 2, 3, 1)
        assert np.abs(found.numpy() - ours[number]).max() <= 1e-4 * np.abs(ours[number]).max(), kind

        def run(times: int, kind: Any = kind, given: Any = None) -> None:
            with torch.inference_mode():
                for _ in range(times):
                    kind(*given)

        runs.append([lambda times, run=run, given=given: run(times, given=given) for given in formats])
    return runs


def main() -> None:
    _alive, peak = peak_function()
    for row in ROWS:
        if len(sys.argv) < 2 or any(word in row[0] for word in sys.argv[1:]):
            print(measure(row, peak), flush=True)


if __name__ == "__main__":
    main()
