"""What people read after a run: what was done, whether it held, and where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.cli.output import mark, paint, say, table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["tell_run"]

MOST_REFUSALS = 5
SHOWN = 12
ROOT_LENGTH = 64


def tell_run(document: Mapping[str, Any]) -> None:
    """Print a ``tally.demo/1`` or ``tally.run/1`` document for people."""
    data = f" on {document['data']}" if document.get("data") else ""
    say(
        paint(str(document["recipe"]), "bold"),
        f"{data}: {document['members']} members, "
        f"{document['rounds']} rounds, seed {document['seed']}. {_stage(document)}"
        "One process played every member, so this shows the mechanism and proves nothing to "
        "others.",
    )
    say()
    for check in document["checks"]:
        measured = f"{_shown(check['measured'])} {check['op']} {_shown(check['bound'])}"
        say(mark(ok=check["ok"]), f" {check['id']}: {measured}. {check['says']}")
    say()
    for line in table((name, _shown(value)) for name, value in document["metrics"].items()):
        say(line)
    _tell_refusals(document["refused"], document["decisions"])
    say()
    for line in table(_roots(document)):
        say(line)
    say(_verdict(document))


def _stage(document: Mapping[str, Any]) -> str:
    """Return what kept the ledger, where that was not the process that played the members."""
    network = document.get("network")
    if not network:
        return ""
    return (
        f"A trial network of {len(network['nodes'])} nodes under CometBFT {network['version']} "
        f"made {network['blocks']} blocks, {network['blocks_with_transactions']} of them with "
        "transactions. "
    )


def _tell_refusals(refused: list[Mapping[str, Any]], decisions: Mapping[str, Any]) -> None:
    if not refused:
        return
    say()
    sides = (_share(decisions[side], side) for side in ("honest", "malicious"))
    say(f"{len(refused)} updates were refused: {', '.join(filter(None, sides))}")
    rows = [
        (f"  round {one['round']}", one["member"], one["reason"], one["update"][:SHOWN])
        for one in refused[:MOST_REFUSALS]
    ]
    for line in table(rows):
        say(line)
    if len(refused) > MOST_REFUSALS:
        say(f"  and {len(refused) - MOST_REFUSALS} more")


def _share(side: Mapping[str, Any], name: str) -> str:
    """Return how many of a side's updates were refused, and why."""
    if not side["updates"]:
        return ""
    why = ", ".join(f"{reason} {count}" for reason, count in side["reasons"].items())
    told = f"{side['refused']} of {side['updates']} from {name} members"
    return f"{told} ({why})" if why else told


def _roots(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = ("genesis", "state_root", "model_root", "model_sha256")
    rows = [(name, str(document[name])) for name in names if document.get(name)]
    return rows + [(name, str(path)) for name, path in document.get("files", {}).items()]


def _verdict(document: Mapping[str, Any]) -> str:
    failed = [check["id"] for check in document["checks"] if not check["ok"]]
    if document["ok"]:
        return paint(f"All {len(document['checks'])} checks hold.", "green")
    return paint(f"NOT all checks hold: {', '.join(failed) or 'there are none'}.", "red")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "none" if value is None else str(value)
    return text if len(text) < ROOT_LENGTH else f"{text[:SHOWN]}…"
