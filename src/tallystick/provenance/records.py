"""A task's log as lines: one plain dictionary a record, for people and programs to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from tallystick.errors import ConfigError
from tallystick.ledger.collect.notes import (
    Advanced,
    Attested,
    Charged,
    Closed,
    Finished,
    Forfeited,
    Note,
    Opened,
    Paid,
    RoundEnded,
    Shut,
    Signed,
)
from tallystick.ledger.messages import Accuse, CloseTask, Collect, Open, ProposeTask
from tallystick.ledger.terms import task_id
from tallystick.mechanisms import reasons
from tallystick.provenance.leaf import parse_leaf, parse_signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tallystick.ledger.messages import Entry
    from tallystick.mechanisms.records import Output

__all__ = ["TYPES", "list_records", "record_line"]

TYPES = (
    "proposal",
    "seal",
    "artefact",
    "opinion",
    "attestation",
    "complaint",
    "opening",
    "accusation",
    "closing",
    "opened",
    "shut",
    "beacon",
    "attested",
    "closed",
    "paid",
    "forfeited",
    "charged",
    "round-ended",
    "finished",
)


def list_records(
    leaves: Iterable[tuple[int, bytes]],
    *,
    round_: int | None = None,
    member: str | None = None,
    kind: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the log's records as dictionaries of JSON values.

    Parameters
    ----------
    leaves
        Each with the height of its block.
    round_, member, kind
        Only records of this round, that this member sent or that name it, of this type.

    Raises
    ------
    ConfigError
        There is no such type.
    DecodeError
        A leaf is no record of a log.
    """
    if kind is not None and kind not in TYPES:
        msg = f"no record is of type '{kind}'"
        raise ConfigError(msg, hint=f"types: {', '.join(TYPES)}")
    for number, (height, leaf) in enumerate(leaves):
        for fields in _fields(parse_leaf(leaf)):
            if kind is not None and fields["type"] != kind:
                continue
            if round_ is not None and fields.get("round") != round_:
                continue
            if member is not None and member not in _named(fields):
                continue
            yield {"format": "tally.log/1", "record": number, "height": height, **fields}


def record_line(record: dict[str, Any]) -> str:
    """Return a record as a line for people."""
    place = f"{record['height']:>6} {record['record']:>6}"
    stage = record.get("stage", "")
    group = f":{record['group']}" if record.get("group") else ""
    where = f"{record.get('round', '-'):>4} {stage + group:<12}"
    shown = ("format", "record", "height", "round", "stage", "group", "type", "phase")
    rest = " ".join(f"{name}={_told(value)}" for name, value in record.items() if name not in shown)
    return f"{place} {where} {record['type']:<12} {rest}".rstrip()


def _fields(note: Note) -> list[dict[str, Any]]:
    match note:
        case Signed():
            return _signed(note.wire)
        case Closed():
            place = {"phase": note.phase, "round": note.round, "stage": note.stage}
            return [{"type": "closed", **place, **_output(note.output)}]
        case Opened() | Shut() | Advanced() | Attested() | Forfeited() | Charged():
            return [_of_stage(note)]
        case Paid():
            return [{"type": "paid", **_plain(note)}]
        case RoundEnded():
            return [{"type": "round-ended", **_plain(note)}]
        case Finished():
            return [{"type": "finished", **_plain(note)}]


def _of_stage(
    note: Opened | Shut | Advanced | Attested | Forfeited | Charged,
) -> dict[str, Any]:
    names = {
        Opened: "opened",
        Shut: "shut",
        Advanced: "beacon",
        Attested: "attested",
        Forfeited: "forfeited",
        Charged: "charged",
    }
    fields = _plain(note)
    key = note.key
    place = {"phase": key.phase, "round": key.round, "stage": key.stage, "group": key.group}
    del fields["key"]
    if isinstance(note, Opened):
        fields["seats"] = [seat.member for seat in note.seats]
    return {"type": names[type(note)], **place, **fields}


def _signed(wire: bytes) -> list[dict[str, Any]]:
    body = parse_signed(wire)
    sender = {"member": body.sender}
    message = body.message
    match message:
        case ProposeTask():
            terms = message.terms
            facts = {"task": task_id(terms).hex(), "name": terms.name, "recipe": terms.recipe}
            return [{"type": "proposal", "round": 0, **sender, **facts}]
        case Collect():
            return [_entry(entry, body.sender) for entry in message.entries]
        case Open():
            return [
                {
                    "type": "opening",
                    "phase": message.phase,
                    "round": message.round,
                    "stage": opening.stage,
                    "group": opening.group,
                    **sender,
                    "output": opening.output.root.hex(),
                }
                for opening in message.openings
            ]
        case Accuse():
            fields = {"round": message.round, "stage": message.stage, "accused": message.member}
            return [{"type": "accusation", **sender, **fields}]
        case CloseTask():
            return [{"type": "closing", **sender}]
        case _:
            return []


def _entry(entry: Entry, sender: str) -> dict[str, Any]:
    record = _plain(entry.record)
    if "subjects" in record:  # the root of the list an opinion is about
        record["about"] = record.pop("subjects")
    return {
        "type": type(entry.record).__name__.lower(),
        "phase": entry.phase,
        "round": entry.round,
        "stage": entry.stage,
        "group": entry.group,
        "member": sender,
        **record,
        **({"salt": entry.salt.hex()} if entry.salt else {}),
    }


def _output(output: Output) -> dict[str, Any]:
    subjects = [
        {
            **_plain(subject),
            **({} if subject.live else {"reason": reasons.name_of(subject.verdict)}),
        }
        for subject in output.subjects
    ]
    effects = [
        {"effect": type(effect).__name__.lower(), **_plain(effect)} for effect in output.effects
    ]
    return {
        "output": output.root.hex(),
        "void": output.void,
        "subjects": subjects,
        "effects": effects,
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any record of the log
    """Return a value as JSON knows it: structs as objects, bytes as hex."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _named(fields: dict[str, Any]) -> set[str]:
    """Return every member a record names."""
    found: set[Any] = {fields.get("member"), fields.get("accused")}
    for name in ("seats", "absent", "withheld", "signers"):
        found.update(fields.get(name, ()))
    parts: list[dict[str, Any]] = [*fields.get("subjects", ()), *fields.get("effects", ())]
    for part in parts:
        found |= {part.get("author"), part.get("member")}
    return {name for name in found if name}


def _told(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(value, list):
        return "-" if value == "" else str(value)
    values = cast("list[Any]", value)
    if any(isinstance(each, dict) for each in values):
        return f"[{len(values)}]"
    return ",".join(map(str, values)) or "-"
