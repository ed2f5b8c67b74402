"""Places where random numbers are drawn, or where a scan begins: each one in each instance has a number of its own.

A place is named by the path of the instance, where the call is written, and how often it was reached before.  So the
two elaborations of a model, for inference and for training, agree about the calls they share, and a call that only one
of them reaches takes no number from another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.ir.node import leaf
from graphc.ir.types import I64, TensorType
from graphc.source import Span

SEED = leaf("seed", "seed", TensorType(I64))
Place = tuple[str, str, int]
"""Path, file, offset."""


@dataclass(slots=True, eq=False)
class Sites:
    """The numbers given so far, in the order in which the places were first reached."""

    numbers: dict[tuple[Place, int], int] = field(default_factory=dict)
    reached: dict[Place, int] = field(default_factory=dict)

    def begin_model(self) -> None:
        """A new model: numbers start from 0."""
        self.numbers.clear()
        self.reached.clear()

    def begin_mode(self) -> None:
        """The same model once more, in another mode: its calls are found under the numbers they have."""
        self.reached.clear()

    def number(self, path: str, span: Span) -> int:
        """The number of the draw that a call makes now."""
        place = (path, span.source.name, span.start)
        times = self.reached.get(place, 0)
        self.reached[place] = times + 1
        return self.numbers.setdefault((place, times), len(self.numbers))
