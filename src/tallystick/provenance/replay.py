"""Repeat the arithmetic: every attested output, from the blobs it was computed of."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tallystick.errors import InvariantError, TallyError, UnavailableError, VerificationError
from tallystick.provenance.writing import BlobsMissingError
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from tallystick.provenance.derivation import Fold
    from tallystick.tensors.spec import BlobWriter

__all__ = ["BlobsMissingError", "Source", "replay_folds"]


class Source(Protocol):
    """Where blobs may be found: what it returns has the root it was asked for."""

    def open_blob(self, root: bytes) -> np.ndarray | None:
        """Return the blob, or `None` when it is not there."""
        ...


class FolderSource:
    """A folder of blobs, as a node or a run keeps it; it stays as it is."""

    def __init__(self, folder: Path) -> None:
        """Look into ``folder``."""
        self._blobs = FileBlobs(folder, read_only=True)

    def open_blob(self, root: bytes) -> np.ndarray | None:
        """See `Source.open_blob`."""
        try:
            return self._blobs.open(root)
        except UnavailableError:
            return None


class Scratch:
    """Blobs of several sources to read from, and a folder for what the replay makes."""

    def __init__(self, sources: Sequence[Source], folder: Path) -> None:
        """Read from ``sources`` first."""
        self._sources = sources
        self._made = FileBlobs(folder, durable=False)

    def has(self, root: bytes) -> bool:
        """See `Blobs.has`."""
        return any(source.open_blob(root) is not None for source in self._sources) or (
            self._made.has(root)
        )

    def open(self, root: bytes) -> np.ndarray:
        """See `Blobs.open`."""
        for source in self._sources:
            found = source.open_blob(root)
            if found is not None:
                return found
        return self._made.open(root)

    def create(self) -> BlobWriter:
        """See `Blobs.create`."""
        return self._made.create()


def replay_folds(folds: Iterable[Fold], sources: Sequence[Source]) -> int:
    """Fold every attested stage again and compare; return how many there were.

    Models that an earlier fold made need not be in the sources.

    Raises
    ------
    BlobsMissingError
        A blob that a fold needs is in none of the sources.
    VerificationError
        A fold gives another output than the one that was signed.
    """
    count = 0
    with tempfile.TemporaryDirectory(
        prefix="tally-replay-",
        ignore_cleanup_errors=True,  # Windows keeps files that are mapped
    ) as folder:
        bench = Workbench(Scratch(sources, Path(folder)))
        for fold in folds:
            _replay(fold, bench)
            count += 1
        del bench  # maps into the folder are gone before it is
    return count


def _replay(fold: Fold, bench: Workbench) -> None:
    where = f"'{fold.key.stage}' in round {fold.key.round} (block {fold.height})"
    try:
        output = fold.step.rule.fold((), replace(fold.inputs, workbench=bench))
    except UnavailableError as error:
        msg = f"replaying {where}: {error}"
        raise BlobsMissingError(
            msg, hint="a bundle written with updates has them; or name a folder with --blobs"
        ) from error
    except (TallyError, InvariantError) as error:
        msg = f"{where} cannot be computed from its inputs: {error}"
        raise VerificationError(msg) from error
    if output.root != fold.output.root:
        msg = f"{where} gives another output than the one its attesters signed"
        raise VerificationError(msg)
