"""Planted bugs: each line changed here must be noticed by the tests of the ledger.

A mutant is a copy of the package with one text of ``mutants.toml`` replaced; the tests run against
the copy in a process of their own. A mutant that survives is a missing test.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import tallystick

ROOT = Path(__file__).parents[2]
PACKAGE = Path(tallystick.__file__).parent
# Which tests are likely to notice a bug in a file: they run first, and the first failure is enough.
NEAREST = {
    "ledger/collect/attest.py": ("attest",),
    "ledger/collect/beacon.py": ("sealed",),
    "ledger/collect/round.py": ("money_of_a_round", "close", "short"),
    "ledger/collect/row.py": ("windows", "sealed", "hold"),
    "ledger/collect/view.py": ("references",),
    "ledger/collect/window.py": ("windows", "dozing", "short"),
    "ledger/contracts/access.py": ("registry_and_access", "pointers_and_tokens"),
    "ledger/contracts/accounts.py": ("accounts", "money_of_a_round"),
    "ledger/contracts/changes.py": ("upgrades", "members", "validators"),
    "ledger/contracts/pointers.py": ("pointers_and_tokens",),
    "ledger/contracts/tasks.py": ("approval", "windows"),
    "ledger/contracts/validators.py": ("equivocation", "validators"),
    "ledger/kernel.py": ("kernel", "upgrades"),
    "ledger/transaction.py": ("transaction",),
}
FAILED = 1  # what pytest returns when a test failed; anything else is no verdict


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    why: str
    file: str
    old: str
    new: str


DATA = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text(encoding="utf-8"))
MUTANTS = [Mutant(**each) for each in DATA["mutant"]]
HARMLESS = Mutant("nothing", "ledger/kernel.py", "PROTOCOL = 1\n", "PROTOCOL = 1\n")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.why)
def test_the_line_a_bug_is_planted_in_is_there_once(mutant):
    source = (PACKAGE / mutant.file).read_text(encoding="utf-8")

    assert source.count(mutant.old) == 1, f"{mutant.file} no longer holds this line once"


def plant(mutant, folder):
    """Copy the package into ``folder`` with the bug in it."""
    shutil.copytree(PACKAGE, folder / "tallystick")  # with what is compiled: it knows its source
    path = folder / "tallystick" / mutant.file
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")


def run_tests(folder, *tests):
    """Return pytest's exit status over the ledger's tests, run against the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=600
    ).returncode


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.why)
def test_a_planted_bug_is_noticed(mutant, tmp_path):
    plant(mutant, tmp_path)
    nearest = [f"tests/unit/ledger/test_{name}.py" for name in NEAREST.get(mutant.file, ())]
    found = run_tests(tmp_path, *nearest) if nearest else 0
    if not found:  # collecting all of them takes longer than running a few
        found = run_tests(tmp_path, "tests/unit/ledger", "tests/property/test_rounds.py")

    assert found == FAILED


@pytest.mark.slow
def test_the_copy_is_what_is_tested(tmp_path):
    plant(HARMLESS, tmp_path)
    (tmp_path / "tallystick" / "errors.py").write_text("raise SystemError('the copy')\n")

    assert run_tests(tmp_path, "tests/unit/ledger/test_genesis.py") != 0


@pytest.mark.slow
def test_without_a_planted_bug_the_copy_passes(tmp_path):
    plant(HARMLESS, tmp_path)

    assert run_tests(tmp_path, "tests/unit/ledger") == 0
