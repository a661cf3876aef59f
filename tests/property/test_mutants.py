"""Planted bugs: each line changed here must be noticed by the tests of the ledger.

A mutant is a copy of the package with one piece of text replaced; the tests run against the copy in
a process of their own. A mutant that survives is a missing test.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import tallystick

ROOT = Path(__file__).parents[2]
PACKAGE = Path(tallystick.__file__).parent
FAILED = 1  # what pytest returns when a test failed; anything else is no verdict

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    why: str
    file: str
    old: str
    new: str


ROW, WINDOW, ROUND = (f"ledger/collect/{name}.py" for name in ("row", "window", "round"))
ATTEST, VIEW, RECIPE = (f"ledger/collect/{name}.py" for name in ("attest", "view", "recipe"))
BEACON = "ledger/collect/beacon.py"
ACCOUNTS, MEMBERS, TASKS = (f"ledger/contracts/{name}.py" for name in ("accounts", "members", "tasks"))

MUTANTS = [
    Mutant("a window shuts one millisecond late", ROW, "cursor.now >= stage.ends:", "cursor.now > stage.ends:"),
    Mutant("nobody dozes", WINDOW, "if full and absent and stage", "if not full and absent and stage"),
    Mutant("absence from a window that shut early counts as sleep", WINDOW,
           "if full and absent and stage", "if absent and stage"),
    Mutant("sleepers are skipped before enough have answered", ROW,
           "return enough and awaited <=", "return awaited <="),
    Mutant("a forfeit without a full window", WINDOW, "            if full:\n                _forfeit",
           "            if True:\n                _forfeit"),
    Mutant("silent non-sealers forfeit", WINDOW,
           '        case "seal":\n            cursor.note(Shut(stage.key, stage.window, full, absent))\n',
           '        case "seal":\n            cursor.note(Shut(stage.key, stage.window, full, absent))\n'
           "            if full:\n                _forfeit(cursor, step, stage, absent)\n"
           "            _ = accounts\n"),
    Mutant("whoever never sealed is waited for in the reveal", ROW,
           'if stage.window == "reveal" and step.stage.sealed:', "if False:"),
    Mutant("a seal is taken while others reveal", ROW,
           '    if stage.window != "seal":\n        raise (LateRecord',
           '    if stage.window not in {"seal", "reveal"}:\n        raise (LateRecord'),
    Mutant("a reveal is taken while others still seal", ROW,
           '        if stage.window == "seal":\n', '        if stage.window == "never":\n'),
    Mutant("a reveal needs no seal", ROW, "    if row.seal == opened:\n", "    if row.seal == opened or not row.seal:\n"),
    Mutant("the seal does not bind its sender", BEACON, "encode(record), sender.encode(), salt", "encode(record), salt"),
    Mutant("the seal does not bind its place", BEACON, '"seal", encode(key), encode(record)', '"seal", encode(record)'),
    Mutant("the beacon depends on the order of salts", BEACON, "tuple(sorted(salts.items()))", "tuple(salts.items())"),
    Mutant("the beacon stands still", WINDOW, "cursor.change(beacon=beacon, withheld=out)", "cursor.change(withheld=out)"),
    Mutant("two thirds of the holders are enough", ROW, "or yes * 3 > 2 * len(holders)", "or yes * 3 >= 2 * len(holders)"),
    Mutant("an artefact is dropped too early", ROW, "elif (yes + silent) * 3 <= 2 *", "elif (yes + silent) * 3 <= 3 *"),
    Mutant("what nobody holds stays in the list", WINDOW, "if decision)\n    lost", "if decision is not None)\n    lost"),
    Mutant("need is not asked again after the hold", WINDOW,
           "    if not step.need.met(len(kept), len(stage.roster)):\n", "    if False:\n"),
    Mutant("two thirds of the signatures are enough", ATTEST, "if 3 * len(signers) <= 2 * len", "if 3 * len(signers) < 2 * len"),
    Mutant("a signature is not checked", ATTEST, "if key and keys.is_valid(key.public, ATTEST_DOMAIN, message, signature):",
           "if key:"),
    Mutant("an attested output may pay", ATTEST, "if opening.output.effects or any(", "if any("),
    Mutant("the same output twice is a fault", ATTEST, "if message.outputs[0] == message.outputs[1]:", "if False:"),
    Mutant("a member is fined twice for one fault", ATTEST, "if message.member in cursor.row.faulty:", "if False:"),
    Mutant("a committee never escalates", WINDOW, "if not stage.escalated and len", "if stage.escalated and len"),
    Mutant("a rerun too many", WINDOW, "if stage.tries < step", "if stage.tries <= step"),
    Mutant("a void round is not counted", ROUND, "voids=row.voids + 1", "voids=row.voids"),
    Mutant("voids are never forgiven", ROUND, "model=model, voids=0", "model=model"),
    Mutant("a fourth void is allowed", ROUND, "MOST_VOIDS = 3", "MOST_VOIDS = 4"),
    Mutant("void rounds are remembered as completed", ROUND, "    if not voided:\n        completed", "    if True:\n        completed"),
    Mutant("a void round keeps its payments", ROUND,
           "cursor.change(pending=(), effects=(), draft=None, voids", "cursor.change(pending=(), draft=None, voids"),
    Mutant("a void round keeps its rosters", ROUND,
           "cursor.change(pending=(), effects=(), draft=None, voids",
           "cursor.change(rosters=(*row.rosters, *row.pending), pending=(), effects=(), draft=None, voids"),
    Mutant("a void round keeps its model", ROUND,
           "cursor.change(pending=(), effects=(), draft=None, voids",
           "cursor.change(pending=(), effects=(), model=row.draft or row.model, draft=None, voids"),
    Mutant("pay at once", ROUND,
           "    payments = tuple(effect for effect in output.effects if isinstance(effect, Pay))\n    cursor",
           "    payments = ()\n    for effect in output.effects:\n        if isinstance(effect, Pay):\n"
           "            accounts.pay_from_escrow(cursor.state, row.id, effect.member, effect.micros)\n"
           '            cursor.note(Paid(row.round, effect.member, effect.micros, "pay"))\n    cursor'),
    Mutant("promises are not added up", ROUND, "for effect in (*payments, *promised))", "for effect in payments)"),
    Mutant("bonds are not returned", ROUND, "    _return_bonds(cursor)\n    _clear", "    _clear"),
    Mutant("standing bonds go back after a round", ROUND,
           "cursor.row.id, member, standing=False)", "cursor.row.id, member, standing=True)"),
    Mutant("standing bonds are kept at the end", ROUND,
           "cursor.row.id, member, standing=True)", "cursor.row.id, member, standing=False)"),
    Mutant("faults are forgotten when their round is void", ROUND,
           "    _punish(cursor, step, output)\n    if output.void:\n        _void_round(cursor, output.void)\n        return\n",
           "    if output.void:\n        _void_round(cursor, output.void)\n        return\n    _punish(cursor, step, output)\n"),
    Mutant("one void group voids the stage", ROUND, '"" if good else outputs[0].void', "outputs[0].void or outputs[-1].void"),
    Mutant("empty rounds run without end in one block", ROUND, "MOST_ROUNDS_A_BLOCK = 4", "MOST_ROUNDS_A_BLOCK = 400"),
    Mutant("a closed task runs on", ROUND, "cursor.terms.rounds or row.closing:", "cursor.terms.rounds:"),
    Mutant("the owner takes all that is left", ROUND, "for member, micros in cursor.row.funders}", "for member, micros in ()}"),
    Mutant("silence runs like time", TASKS, "return max(0, time - parent_time - gap)", "return 0"),
    Mutant("a fault in due work stops the chain", TASKS, "        except Exception as fault:", "        except ImportError as fault:"),
    Mutant("nobody wakes", TASKS, "    if context.sender in row.dozing:", "    if False:"),
    Mutant("records are taken one by one", TASKS, "        accept_entry(cursor, context, entry)\n    cursor.save()",
           "        try:\n            accept_entry(cursor, context, entry)\n        except MechanismError:\n"
           "            if entry is message.entries[0]:\n                raise\n    cursor.save()"),
    Mutant("anybody closes a task", TASKS, "    if context.sender != cursor.row.owner:\n", "    if False:\n"),
    Mutant("a reference counts void rounds", VIEW, "return self._stored(ROUND, completed[-back], name)",
           "return self._stored(ROUND, self.row.round - back, name)"),
    Mutant("a reference reaches one round too few", VIEW, "completed[-back]", "completed[-max(1, back - 1)]"),
    Mutant("rosters hold only when the round completes", VIEW,
           "for rows in (self.row.pending, self.row.rosters):", "for rows in (self.row.rosters,):"),
    Mutant("removed members are still asked", VIEW, "if seat.member in active))", "))"),
    Mutant("a group is scored by itself", VIEW, "(seat.group != group if other else", "(seat.group == group if other else"),
    Mutant("a need beyond its roster is accepted", RECIPE, "    if not step.need.reachable(size):\n", "    if False:\n"),
    Mutant("a forfeit vanishes", ACCOUNTS, "_shift(state, bonds=-lost, sink=lost)", "_shift(state, bonds=-lost)"),
    Mutant("a bond is released twice", ACCOUNTS, "Bond(0, 0 if standing else bond.standing)", "Bond(bond.round, 0)"),
    Mutant("money is spent that is not there", ACCOUNTS, "left = balance(state, member) - micros\n    if left < 0:",
           "left = max(0, balance(state, member) - micros)\n    if left < 0:"),
    Mutant("two thirds of the votes are enough", MEMBERS, "if votes * 3 > 2 * len(roll):", "if votes * 3 >= 2 * len(roll):"),
    Mutant("old keys stay valid", MEMBERS, "old.active and old.role != key.role", "old.active"),
    Mutant("a nonce can be spent twice", "ledger/transaction.py", "body.nonce <= last:", "body.nonce < last:"),
    Mutant("a signature serves on every ledger", "ledger/transaction.py",
           "if not _signed(key.public, genesis + tx.raw_body", "if not _signed(key.public, b'' + tx.raw_body"),
    Mutant("a refused transaction keeps what it wrote", "ledger/kernel.py",
           "            receipt = Receipt(error.code)\n        else:", "            receipt = Receipt(error.code)\n            scratch.keep()\n        else:"),
    Mutant("a faulty transaction is let in", "ledger/kernel.py",
           '                msg = f"holds a transaction that faults: {type(error).__name__}"\n                raise InvalidBlockError(msg) from error',
           "                continue"),
    Mutant("a later transaction overtakes one that waits", "ledger/kernel.py",
           "                held_back.add(tx.order[:2])\n", ""),
]  # fmt: skip


def plant(mutant, folder):
    """Copy the package into ``folder`` with the bug in it."""
    shutil.copytree(PACKAGE, folder / "tallystick", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "tallystick" / mutant.file
    source = path.read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1, f"{mutant.file} no longer holds this line once"
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")


def run_tests(folder, *tests):
    """Return pytest's exit status over the ledger's tests, run against the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=600
    ).returncode


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.why)
def test_a_planted_bug_is_noticed(mutant, tmp_path):
    plant(mutant, tmp_path)

    assert run_tests(tmp_path, "tests/unit/ledger", "tests/property/test_rounds.py") == FAILED


def test_the_copy_is_what_is_tested(tmp_path):
    plant(Mutant("", ROUND, "MOST_VOIDS = 3", "MOST_VOIDS = 3"), tmp_path)
    (tmp_path / "tallystick" / "errors.py").write_text("raise SystemError('the copy')\n")

    assert run_tests(tmp_path, "tests/unit/ledger/test_genesis.py") != 0


def test_without_a_planted_bug_the_copy_passes(tmp_path):
    plant(Mutant("", ROUND, "MOST_VOIDS = 3", "MOST_VOIDS = 3"), tmp_path)

    assert run_tests(tmp_path, "tests/unit/ledger") == 0
