"""What a model can be asked about how it was made, as long as the compiler that made it is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray


class Inspection(Protocol):
    """What the compiler knows of a model and an artifact does not hold."""

    def text(self, stage: str) -> str: ...
    def graph(self, stage: str, entry: str | None = None) -> Any: ...
    def explain(self, topic: str) -> str: ...
    def memory(self) -> str: ...
    def to_dot(self, stage: str) -> str: ...
    def explain_non_finite(
        self, entry: str, values: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]
    ) -> str | None: ...
