"""What the PyTorch twins share: weights from our parameters, the training step, inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .case import Case, Twin

CHANNELS_LAST = torch.channels_last


def tensor(array: Any) -> torch.Tensor:
    """A copy: what PyTorch changes is its own."""
    return torch.from_numpy(np.array(array, copy=True))


def put(layer: nn.Module, **values: Any) -> None:
    """Parameters of a layer by name, in PyTorch's layout."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(tensor(value))


def put_dense(layer: nn.Linear, weight: Any, bias: Any) -> None:
    """Ours is [in, out], PyTorch's [out, in]."""
    put(layer, weight=np.asarray(weight).T, bias=bias)


def put_convolution(layer: nn.Conv2d, weight: Any) -> None:
    """Ours is [height, width, in, out], PyTorch's [out, in, height, width]."""
    put(layer, weight=np.asarray(weight).transpose(3, 2, 0, 1))


def images(array: Any) -> torch.Tensor:
    """[B, H, W, C] as PyTorch's [B, C, H, W], which stays channels-last in memory: its faster layout on a CPU."""
    return tensor(array).permute(0, 3, 1, 2).contiguous(memory_format=CHANNELS_LAST)


def training(case: Case, net: nn.Module, loss_of: Callable[[Any, Any], Any], x: torch.Tensor, y: torch.Tensor) -> Twin:
    """Steps of the case's optimizer, fused (one native pass over all parameters) where PyTorch has that."""
    net.train()
    options: dict[str, Any] = {"lr": 1e-7, "fused": case.settings.get("fused", True)}
    if case.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), **options)
    else:
        momentum = 0.9 if case.optimizer == "momentum" else 0.0
        optimizer = torch.optim.SGD(net.parameters(), momentum=momentum, **options)
    forward = lambda x, y: loss_of(net(x), y)  # noqa: E731
    if case.settings.get("compile"):
        forward = torch.compile(forward, dynamic=False)

    def run() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def set_rate(rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate

    return Twin(run, set_rate)


def inference(case: Case, net: Callable[..., Any], *inputs: torch.Tensor) -> Twin:
    if isinstance(net, nn.Module):
        net.eval()
    if case.settings.get("compile"):
        net = torch.compile(net, dynamic=False)  # type: ignore[assignment]

    def run() -> Any:
        with torch.inference_mode():
            return net(*inputs)

    return Twin(run)
