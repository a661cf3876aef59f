"""Check a bundle offline: what each part proves, with a named failure for each.

Trust comes from the genesis hash alone, which has to come from somewhere other than the bundle.
The checks run in a fixed order; the first failure that makes later ones meaningless ends the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tallystick.codec import decode
from tallystick.consensus.finality import check_engine, describe
from tallystick.crypto.hashes import chunk_hashes, root_of_chunks
from tallystick.crypto.merkle_map import verify_member
from tallystick.errors import ConfigError, DecodeError, VerificationError
from tallystick.ledger.collect.rows import TASKS, TaskRow
from tallystick.ledger.genesis import Genesis, genesis_hash
from tallystick.provenance.anchors import Anchor, parse_checkpoint, parse_genesis, parse_root
from tallystick.provenance.bundle import Bundle
from tallystick.provenance.closing import check_closing, count_closing
from tallystick.provenance.derivation import Derived, derive
from tallystick.provenance.execution import (
    Checkpoint,
    Executed,
    FinalityError,
    HistoryError,
    execute,
)
from tallystick.provenance.history import read_history
from tallystick.provenance.membership import says_excluded, says_included
from tallystick.provenance.model_file import compare_model
from tallystick.provenance.replay import FolderSource, Source, replay_folds
from tallystick.provenance.report import Check, Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.provenance.facts import TaskHistory

__all__ = ["Check", "Report", "verify"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the caller wants checked, parsed."""

    anchor: Anchor
    checkpoint: Checkpoint | None
    model: Path | None
    replay: bool
    blobs: Path | None
    includes: tuple[bytes, ...]
    excludes: tuple[bytes, ...]
    min_signers: int | None


def verify(  # noqa: PLR0913 - one claim, many sides
    bundle: str | Path,
    genesis: str | bytes | Path | Genesis,
    *,
    model: str | Path | None = None,
    replay: bool = False,
    blobs: str | Path | None = None,
    includes: Iterable[str | bytes] = (),
    excludes: Iterable[str | bytes] = (),
    min_signers: int | None = None,
    checkpoint: str | Checkpoint | None = None,
) -> Report:
    """Check a bundle against a genesis hash obtained elsewhere.

    Parameters
    ----------
    genesis
        The hash as 64 hexadecimal digits, the published line ``NAME+HEX``, a genesis, or a file
        that holds one of these.
    model
        A model file that should be the task's.
    replay
        Repeat every attested computation from the blobs, of which ``blobs`` names a folder with
        more than the bundle holds.
    includes, excludes
        Roots of updates that should have, or should not have, gone into the model.
    min_signers
        How many members have to have co-signed the result; by default half of them.
    checkpoint
        ``HEIGHT:HASH`` of a block somebody trusted vouches for.

    Raises
    ------
    DecodeError
        The file is no whole, canonical bundle.
    ConfigError
        An argument is no such thing, or a file cannot be read.
    BlobsMissingError
        A replay was asked for, and a blob is neither in the bundle nor in the folder.
    """
    asked = _Asked(
        anchor=parse_genesis(genesis),
        checkpoint=None if checkpoint is None else parse_checkpoint(checkpoint),
        model=None if model is None else Path(model),
        replay=replay,
        blobs=None if blobs is None else Path(blobs),
        includes=tuple(map(parse_root, includes)),
        excludes=tuple(map(parse_root, excludes)),
        min_signers=min_signers,
    )
    if asked.blobs is not None and not asked.blobs.is_dir():
        msg = f"{asked.blobs} is no folder of blobs"
        raise ConfigError(msg)
    with Bundle(bundle) as opened:
        return _Verification(opened, asked).run()


class _Verification:
    """One bundle under one set of questions."""

    def __init__(self, bundle: Bundle, asked: _Asked) -> None:
        self.bundle = bundle
        self.asked = asked
        self.report = Report(
            genesis=genesis_hash(bundle.genesis).hex(),
            trial=bundle.genesis.trial,
            task=bundle.head.task.hex(),
            height=bundle.head.height,
        )

    def run(self) -> Report:
        """Run the checks as far as they mean something."""
        report, head = self.report, self.bundle.head
        report.add(
            "bundle-format",
            f"{head.height} blocks, {head.leaves} log records and {head.blobs} blobs, "
            "each in its one encoding",
        )
        if not self._genesis():
            return report
        executed = self._finality()
        if executed is None:
            return report
        found = self._history(executed)
        if found is None:
            return report
        history, derived = found
        row = self._state(executed, history, derived)
        if row is None:
            return report
        self._closing(executed, history)
        self._model(row, history)
        self._replay(derived)
        for root in self.asked.includes:
            ok, says = says_included(history, root)
            report.add("includes", says, ok=ok)
        for root in self.asked.excludes:
            ok, says = says_excluded(history, root)
            report.add("excludes", says, ok=ok)
        return report

    def _genesis(self) -> bool:
        anchor, genesis = self.asked.anchor, self.bundle.genesis
        found = genesis_hash(genesis)
        if found != anchor.genesis:
            says = f"the bundle's genesis is {found.hex()}, not the one you trust"
            return self.report.add("genesis", says, ok=False)
        if anchor.name and anchor.name != genesis.name:
            says = f"the network is called '{genesis.name}', not '{anchor.name}'"
            return self.report.add("genesis", says, ok=False)
        trial = "; it is a trial, whose keys anybody may know" if genesis.trial else ""
        return self.report.add(
            "genesis", f"'{genesis.name}' with {len(genesis.founders)} founders{trial}"
        )

    def _finality(self) -> Executed | None:
        report, genesis = self.report, self.bundle.genesis
        check_engine(genesis)
        report.finality = describe(genesis, b"")
        try:
            executed = execute(self.bundle, self.asked.checkpoint)
        except FinalityError as error:
            report.add("finality", str(error), ok=False)
            return None
        except HistoryError as error:
            report.add("finality", report.finality["says"])
            report.add("history", str(error), ok=False)
            return None
        report.finality = describe(genesis, executed.evidence)
        passed = "" if self.asked.checkpoint is None else "; the checkpoint is on this chain"
        report.add("finality", f"{report.finality['says']}{passed}")
        return executed

    def _history(self, executed: Executed) -> tuple[TaskHistory, Derived] | None:
        report, bundle = self.report, self.bundle
        listed = list(bundle.leaves())
        if [leaf for _, leaf in executed.leaves] != listed:
            report.add("history", "the log is not the one its blocks lead to", ok=False)
            return None
        try:
            task = bundle.head.task
            derived = derive(bundle.genesis, task, executed.leaves, executed.timeline)
            history = read_history(executed.leaves)
        except (HistoryError, DecodeError) as error:
            report.add("history", str(error), ok=False)
            return None
        strange = sorted(set(bundle.blobs) - set(history.artefacts()))
        if strange:
            says = f"blob {strange[0].hex()} has no part in this task"
            report.add("history", says, ok=False)
            return None
        report.task = history.terms.name
        report.status = history.status
        report.rounds = history.attempts
        report.add(
            "history",
            f"{history.leaves} log records of {history.attempts} rounds follow from "
            f"{len(history.transmissions)} signed transactions",
        )
        return history, derived

    def _state(self, executed: Executed, history: TaskHistory, derived: Derived) -> TaskRow | None:
        report, proof = self.report, self.bundle.proof
        key = TASKS.key(history.task)
        try:
            verify_member(executed.head.state_root, key, proof.row, proof.proof)
        except VerificationError as error:
            report.add("state", f"the task's row is not in the final state: {error}", ok=False)
            return None
        row = decode(TaskRow, proof.row)
        if (row.log.size, row.log.root) != (history.leaves, history.log_root):
            report.add("state", "the final state holds the root of another log", ok=False)
            return None
        if msgspec.structs.replace(derived.row, excess=row.excess) != row:
            report.add("state", "the log leads to another state of the task", ok=False)
            return None
        report.model_root = "" if row.model is None else row.model.root.hex()
        if self.bundle.chunks and not self._chunks(row):
            report.add("state", "the list of chunks is not that of the final model", ok=False)
            return None
        report.add("state", f"the task is {row.status} in state {executed.head.state_root.hex()}")
        return row

    def _chunks(self, row: TaskRow) -> bool:
        try:
            return row.model is not None and (
                root_of_chunks(self.bundle.chunks, row.model.size) == row.model.root
            )
        except ValueError:
            return False

    def _closing(self, executed: Executed, history: TaskHistory) -> None:
        closing = count_closing(history, executed.timeline)
        self.report.closing_signatures = {
            "members": closing.members,
            "signed": len(closing.signed),
        }
        ok, says = check_closing(history, closing, self.asked.min_signers)
        self.report.add("closing-signatures", says, ok=ok)

    def _model(self, row: TaskRow, history: TaskHistory) -> None:
        if self.asked.model is None:
            return
        if row.model is None:
            self.report.add("model-file", "the task has no common model", ok=False)
            return
        chunks = self.bundle.chunks
        for source in () if chunks else self._sources():
            data = source.open_blob(row.model.root)
            if data is not None:
                chunks = chunk_hashes(data)
                break
        compared = compare_model(self.asked.model, row.model, history.terms.model, chunks)
        self.report.model_sha256 = compared.sha256
        self.report.add("model-file", compared.says, ok=compared.ok)

    def _replay(self, derived: Derived) -> None:
        if not self.asked.replay:
            return
        try:
            count = replay_folds(derived.folds, self._sources())
        except VerificationError as error:
            self.report.add("replay", str(error), ok=False)
            return
        says = f"{count} attested outputs came out bit for bit"
        self.report.add("replay", says if count else "the log has no attested output to repeat")

    def _sources(self) -> list[Source]:
        sources: list[Source] = [self.bundle]
        if self.asked.blobs is not None:
            sources.append(FolderSource(self.asked.blobs))
        return sources
