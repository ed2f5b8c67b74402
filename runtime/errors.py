"""Every exception graphc raises on purpose. `GraphcError` is the base; each also derives from the built-in that fits.

The messages are whole sentences for a user: they name the thing, what it is and what it should be.
`InternalError` alone means a bug of graphc itself.
"""

from __future__ import annotations

from collections.abc import Sequence


def shown(value: object) -> str:
    """`value` in a message: its repr, not too long; an integer of thousands of digits has none."""
    try:
        return repr(value)[:80]
    except Exception:  # the repr is the user's code
        return f"a {type(value).__name__}"


def counted(number: int, what: str) -> str:
    """`1 file`, `19,210 parameters`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class GraphcError(Exception):
    """Base of all errors of graphc."""


class CompileError(GraphcError):
    """A model file is wrong. `diagnostics` are the faults found, all of them; `str()` is their rendered text."""

    def __init__(self, diagnostics: Sequence[object], text: str | None = None) -> None:
        """`text` is the rendered report; without it each diagnostic's own `str()` is used."""
        self.diagnostics: tuple[object, ...] = tuple(diagnostics)
        self.text = text if text is not None else "\n\n".join(str(one) for one in self.diagnostics)
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.text


class CompileWarning(UserWarning):
    """A model file that compiles, and holds something that is hardly meant: the rendered diagnostics."""


class ArtifactError(GraphcError, ValueError):
    """A `.gca` file cannot be used: damaged, of another version, for another machine, or not an artifact."""


class WeightsError(GraphcError, ValueError):
    """A weights file or checkpoint is damaged or does not fit the model. Nothing of it was loaded."""


class InputTypeError(GraphcError, TypeError):
    """An input is missing, unknown, not an array, or of another dtype."""


class InputShapeError(GraphcError, ValueError):
    """An input has another rank or shape, or the run-time dimensions contradict each other or their bounds."""


class InputValueError(GraphcError, ValueError):
    """An input holds NaN or infinity where finite numbers are needed."""


class NonFiniteError(GraphcError, FloatingPointError):
    """With check="finite": a call made a NaN or an infinity. The message says where; the variables are as before."""


class IndexRangeError(GraphcError, IndexError, ValueError):
    """An index or label input holds a value outside its table."""


class UnknownNameError(GraphcError, KeyError):
    """No parameter, slot, state, hyper-parameter or output of that name."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class OptionError(GraphcError, ValueError):
    """An argument such as `batch`, `epochs` or `seed` has a value that makes no sense."""


class NotAvailableError(GraphcError, RuntimeError):
    """The model does not have what was asked for: it has no `train`, or was loaded without the compiler."""


class BusyError(GraphcError, RuntimeError):
    """The model was called from inside one of its own calls (a signal handler, a destructor)."""


class LimitError(GraphcError, ValueError):
    """A size exceeds a limit of graphc; it was refused before any memory was asked for."""


class OutOfMemoryError(GraphcError, MemoryError):
    """The system has not the memory that a call, or the variables of a model, need. Nothing has changed."""


class DataError(GraphcError, ValueError):
    """A data file cannot be read. The message starts with the file and, for text, `line:column`."""


class InternalError(GraphcError, RuntimeError):
    """A bug of graphc: please report it with the message."""
