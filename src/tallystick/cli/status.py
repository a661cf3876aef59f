"""``tally status``: what a node says of itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from tallystick.cli.options import Authority, GenesisPin, Json, NodeUrl, Proxy
from tallystick.cli.output import print_document, say, table
from tallystick.errors import UnavailableError, VerificationError
from tallystick.failure import DONE, UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["status"]

FORMAT = "tally.status/1"
NEEDED = {
    "chain_id": str,
    "genesis": str,
    "height": int,
    "state_root": str,
    "validators": list,
    "peers": list,
    "engine": str,
    "catching_up": bool,
    "tasks": list,
}
OPTIONAL = {
    "members": list,
    "seen": dict,
    "time": int,
    "missing": list,
    "accused": list,
    "upgrades": list,
    "failure": str,
}
MOST = 10**15  # milliseconds that are told apart
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def status(
    url: NodeUrl,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> int:
    """Show what a node says of itself: its ledger, its tasks, and who was there when.

    Nothing of it is checked, but for the genesis you name; `tally log` and `tally task list`
    execute every block instead.
    """
    from tallystick.consensus.client import NodeClient, RefusedError, Route
    from tallystick.consensus.wire import API
    from tallystick.provenance.anchors import parse_genesis

    wanted = parse_genesis(genesis).genesis.hex() if genesis else ""
    client = NodeClient(Route((url,), ca, proxy))
    try:
        found = _checked(client.ask("GET", f"{API}/status").document())
    except RefusedError as error:
        msg = f"{url} does not answer as a node does: {error}"
        raise UnavailableError(msg, hint="see that the address is a node's") from error
    finally:
        client.close()
    if wanted and found["genesis"] != wanted:
        msg = f"{url} serves the ledger {found['chain_id']}+{found['genesis']}, not {wanted}"
        raise VerificationError(msg, hint="ask its operator, and compare with what was published")
    if json:
        print_document({**found, "format": FORMAT, "url": url})
    else:
        _tell(found)
    return DONE if found.get("ok") else UNAVAILABLE


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    """Return a status that has what every node's has."""
    for name, kind in NEEDED.items():
        if not isinstance(document.get(name), kind):
            msg = f"the node's status has no '{name}'"
            raise UnavailableError(msg, hint="see that the address is a node's of this release")
    for name, kind in OPTIONAL.items():
        if not isinstance(document.setdefault(name, kind()), kind):
            document[name] = kind()
    odd = [name for name in ITEMS if not all(map(ITEMS[name], document[name]))]
    if not isinstance(document.get("history_from", 1), int):
        odd.append("history_from")
    if odd:
        msg = f"the node's status has something else as '{odd[0]}' than a node's of this release"
        raise UnavailableError(msg, hint="see that the address is a node's")
    document["tasks"] = [task for task in document["tasks"] if isinstance(task, dict)]
    return document


def _is_table(each: object) -> bool:
    return isinstance(each, dict)


def _is_upgrade(each: object) -> bool:
    """Whether this is a version and a height."""
    if not isinstance(each, list):
        return False
    return [type(number) for number in cast("list[object]", each)] == [int, int]


ITEMS: dict[str, Callable[[object], bool]] = {"accused": _is_table, "upgrades": _is_upgrade}


def _tell(found: dict[str, Any]) -> None:
    now = time.time_ns() // 1_000_000
    trial = "  (trial: anybody may know its keys)" if found.get("trial") else ""
    say(f"ledger    {found['chain_id']}+{found['genesis']}{trial}")
    age = f", its newest block {_ago(now, found['time'])}" if found["height"] else ""
    say(f"height    {found['height']}{age}")
    say(f"ordered   by {', '.join(map(str, found['validators']))} ({found['engine']})")
    if found["engine"] == "cometbft":
        say(f"connected to {', '.join(map(str, found['peers'])) or 'no other node'}")
    for line in _trouble(found):
        say(line)
    seen = found["seen"]
    rows = [
        (name, f"seen {_ago(now, seen[name])}" if name in seen else "not seen")
        for name in map(str, found["members"])
    ]
    for line in table(rows):
        say(f"member    {line}")
    for line in table(map(_task, found["tasks"])):
        say(f"task      {line}")


def _trouble(found: dict[str, Any]) -> Iterator[str]:
    """Yield what keeps the ledger from going on, what will, and who broke its rules."""
    if found["failure"]:
        yield f"stopped   {found['failure']}"
    elif not found.get("ok"):
        yield "stopped   it takes no transactions now"
    elif found["catching_up"]:
        since = found.get("history_from", 1)
        rest = f", those before {since} among them" if since > 1 else ""
        yield f"behind    it fetches blocks that the others have{rest}"
    if found["missing"]:
        missing = ", ".join(map(str, found["missing"]))
        yield f"waits     for {missing}: no block in {found.get('quiet_seconds')} seconds"
    for each in found["accused"]:
        yield f"accused   {each.get('member')}: {each.get('kind')} at height {each.get('height')}"
    for version, height in found["upgrades"]:
        yield f"upgrade   protocol {version} after block {height}"


def _task(task: dict[str, Any]) -> tuple[str, ...]:
    cause = f" ({task['cause']})" if task.get("cause") else ""
    return (
        str(task.get("name")),
        f"{task.get('status')}{cause}",
        f"{task.get('phase')} {task.get('round')} of {task.get('rounds')}",
        f"{task.get('recipe')}, by {task.get('owner')}",
    )


def _ago(now: int, then: object) -> str:
    """Return how long ago a time in milliseconds was."""
    if not isinstance(then, int):
        return "at no known time"
    seconds = min(max(0, now - then), MOST) / 1000
    for size, unit in UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
