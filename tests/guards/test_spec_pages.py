"""The specification names every code and event that a receipt can hold."""

from __future__ import annotations

import re
from pathlib import Path

from tallystick.errors import RejectedError
from tallystick.ledger import kernel  # noqa: F401 - defines what the ledger refuses

ROOT = Path(__file__).parents[2]
PAGES = "".join(
    (ROOT / "docs" / "spec" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("ledger", "rounds")
)
CONTRACTS = ROOT / "src" / "tallystick" / "ledger" / "contracts"
# Base classes and a check for readers, which no handler raises; what blocks and not receipts hold.
NO_RECEIPT = {432, 500}
DUE_WORK = {"grant", "grant-beyond-limit", "suspended"}


def refusals(base: type[RejectedError] = RejectedError) -> set[int]:
    found = {base.code} if base.__module__.startswith("tallystick.") else set()
    return found.union(*map(refusals, base.__subclasses__()))


def test_every_code_of_a_receipt_is_on_the_page_of_its_checks():
    codes = {code for code in refusals() if code >= 400} - NO_RECEIPT

    assert len(codes) > 15
    assert [code for code in sorted(codes) if not re.search(rf"\b{code}\b", PAGES)] == []


def test_every_event_of_a_receipt_is_in_the_table():
    sources = "".join(path.read_text(encoding="utf-8") for path in CONTRACTS.glob("*.py"))
    kinds = set(re.findall(r'Event\(\s*"([a-z-]+)"', sources)) - DUE_WORK

    assert len(kinds) > 5
    assert [kind for kind in sorted(kinds) if f'("{kind}", ' not in PAGES] == []
