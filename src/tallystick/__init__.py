"""Train a model together without a coordinator, and hand anyone its whole history to check.

Examples
--------
>>> import tallystick as ts
>>> ts.Task(name="sepsis", recipe="bflc", rounds=10).recipe
'bflc'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.errors import (
    ConfigError,
    DecodeError,
    MissingExtraError,
    RejectedError,
    TallyError,
    UnavailableError,
    VerificationError,
)

if TYPE_CHECKING:
    from tallystick.federation.joining import Joined, join
    from tallystick.federation.run import Run, simulate
    from tallystick.federation.task_file import Task
    from tallystick.federation.trainer import Trainer, TrainerError
    from tallystick.provenance.verify import Report, verify

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DecodeError",
    "Joined",
    "MissingExtraError",
    "RejectedError",
    "Report",
    "Run",
    "TallyError",
    "Task",
    "Trainer",
    "TrainerError",
    "UnavailableError",
    "VerificationError",
    "__version__",
    "join",
    "simulate",
    "verify",
]

_HOMES = {
    "Joined": "tallystick.federation.joining",
    "Report": "tallystick.provenance.verify",
    "Run": "tallystick.federation.run",
    "Task": "tallystick.federation.task_file",
    "Trainer": "tallystick.federation.trainer",
    "TrainerError": "tallystick.federation.trainer",
    "join": "tallystick.federation.joining",
    "simulate": "tallystick.federation.run",
    "verify": "tallystick.provenance.verify",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name on first use, so that the command line starts without NumPy."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'tallystick' has no attribute '{name}'"
        raise AttributeError(msg)
    import importlib  # noqa: PLC0415 - only when something is asked for

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
