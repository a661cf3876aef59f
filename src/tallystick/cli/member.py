"""``tally member``: who takes part, votes about it, and new keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from tallystick.cli.change import change_of, says, shown
from tallystick.cli.options import Authority, GenesisPin, Json, KeyFolder, NodeUrl, Proxy
from tallystick.cli.output import print_document, say, table, warn
from tallystick.cli.reach import Reach, facts_of
from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from tallystick.federation.acting import Acting
    from tallystick.federation.membership import Voted
    from tallystick.ledger.messages import Change

__all__ = ["members"]

members = typer.Typer(
    help="See who takes part, vote about it, replace keys, and declare budgets.",
    rich_markup_mode=None,
)
FORMAT = "tally.member/1"
Name = Annotated[str, typer.Argument(metavar="NAME", help="The member's name on the ledger.")]


@members.command()
def propose(  # noqa: PLR0917 - one argument per documented flag
    url: NodeUrl,
    key: KeyFolder,
    admit: Annotated[
        Path | None, typer.Option(metavar="CARD", help="Admit who handed out this card.")
    ] = None,
    remove_: Annotated[str, typer.Option("--remove", metavar="NAME", help="Remove a member.")] = "",
    replace_owner: Annotated[
        Path | None,
        typer.Option(metavar="CARD", help="Give a member that lost its owner key its card's."),
    ] = None,
    grant: Annotated[str, typer.Option(metavar="NAME=MICROS", help="New money for a member.")] = "",
    seat: Annotated[
        str, typer.Option(metavar="NAME", help="Let a member validate, under cometbft.")
    ] = "",
    unseat: Annotated[
        str, typer.Option(metavar="NAME", help="Let a member validate no more; it stays one.")
    ] = "",
    upgrade: Annotated[
        str,
        typer.Option(
            metavar="VERSION@HEIGHT", help="A new protocol; HEIGHT is the old one's last."
        ),
    ] = "",
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Put a change to the vote of all members, and vote for it.

    More than two thirds of the members decide. What is under vote already gets one's vote.
    """
    given = (admit, remove_, replace_owner, grant, seat, unseat, upgrade)
    _support(Reach(url, ca, proxy, genesis), key, change_of(given), json=json)


@members.command()
def approve(
    url: NodeUrl,
    proposal: Annotated[
        str, typer.Argument(metavar="PROPOSAL|NAME", help="Its id, or whom it concerns.")
    ],
    key: KeyFolder,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Vote for a change that is under vote."""
    from tallystick.federation.membership import find_proposal, support

    with Reach(url, ca, proxy, genesis).open(key) as acting:
        voted = support(acting, find_proposal(acting.state, proposal).change)
        _show_vote(acting, voted, json=json)


@members.command()
def remove(
    url: NodeUrl,
    name: Name,
    key: KeyFolder,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Propose that a member leaves, or vote for it if that is proposed."""
    from tallystick.ledger.messages import Remove

    _support(Reach(url, ca, proxy, genesis), key, Remove(name), json=json)


@members.command()
def rotate(
    url: NodeUrl,
    key: KeyFolder,
    role: Annotated[
        str, typer.Option(metavar="owner|worker|validator", help="Which of the member's keys.")
    ] = "worker",
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Replace a key by a new one, made here; the owner's key signs for it.

    The new secret is on disk before the ledger hears of it: interrupted, repeat the command.
    """
    from tallystick.federation.membership import rotate as rotate_key
    from tallystick.ledger.genesis import Role

    if role not in get_args(Role):
        msg = f"there is no role '{role}'"
        raise ConfigError(msg, hint=f"one of {', '.join(get_args(Role))}")
    with Reach(url, ca, proxy, genesis).open(key) as acting:
        found = rotate_key(acting, key, cast("Role", role))
        facts, engine = facts_of(acting, FORMAT), acting.engine.genesis.engine
    if found.seals:
        does = "votes on" if engine == "cometbft" else "seals"
        warn(f"this key {does} the ledger's blocks: the node takes it up from its key folder")
    if json:
        made = {"member": acting.name, "role": role, "index": found.index, "public": found.public}
        print_document({**facts, **made, "seals": found.seals})
        return
    say(f"{role:<12} {found.public.hex()}  (key {found.index} of {acting.name})")
    say(f"secret       in {key}: keep a copy of the key file as it is now")


@members.command()
def dataset(  # noqa: PLR0917 - one argument per documented flag
    url: NodeUrl,
    key: KeyFolder,
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="What the member trains on; it stays here.")
    ],
    epsilon: Annotated[float, typer.Option(help="How much privacy may be spent of it, in all.")],
    delta: Annotated[float, typer.Option(help="With which probability more is lost.")] = 1e-6,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Commit to a data set and declare its privacy budget, which later calls can only lower.

    Tasks with [privacy] charge it; the ledger refuses what would exceed it.
    """
    from tallystick.federation.datasets import commitment_to, declare_budget
    from tallystick.federation.privacy import budget_amounts

    amounts = budget_amounts(epsilon, delta)
    with Reach(url, ca, proxy, genesis).open(key) as acting:
        root = commitment_to(data, acting.identity.salt_secret)
        held = declare_budget(acting, root, *amounts)
        facts = facts_of(acting, FORMAT)
    if json:
        spent = {"epsilon_nanos": held.epsilon_nanos, "delta_picos": held.delta_picos}
        print_document({**facts, "dataset": root, **spent, "charges": held.charges})
        return
    say(f"dataset  {root.hex()}")
    say(f"budget   epsilon {epsilon:g} at delta {delta:g}, {held.charges} charges so far")


@members.command("list")
def list_(
    url: NodeUrl,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """List members with their keys, and what is under vote, from blocks executed here."""
    from tallystick.federation.membership import member_fingerprint, open_proposals
    from tallystick.ledger.contracts.changes import upcoming
    from tallystick.ledger.contracts.members import known_members, protocol
    from tallystick.ledger.contracts.validators import seats

    with Reach(url, ca, proxy, genesis).open() as acting:
        state, facts = acting.state, facts_of(acting, FORMAT)
    listed = [
        {
            "name": name,
            "active": row.active,
            "validates": name in seats(state),
            "fingerprint": member_fingerprint(name, row),
            "keys": [
                {
                    "index": index,
                    "role": each.role,
                    "public": each.public,
                    "valid": row.active and each.active,
                }
                for index, each in enumerate(row.keys)
            ],
        }
        for name, row in known_members(state).items()
    ]
    proposals = [shown(each) for each in open_proposals(state)]
    ahead = [{"version": version, "height": height} for version, height in upcoming(state)]
    if json:
        versions = {"protocol": protocol(state), "upgrades": ahead}
        print_document({**facts, "members": listed, "proposals": proposals, **versions})
        return
    _tell(listed, proposals)
    for each in ahead:
        say(f"protocol  version {each['version']} after block {each['height']}, decided")


def _support(reach: Reach, key: Path, change: Change, *, json: bool) -> None:
    from tallystick.federation.membership import support
    from tallystick.ledger.kernel import KNOWN
    from tallystick.ledger.messages import Upgrade

    if isinstance(change, Upgrade) and change.version not in KNOWN:
        warn(f"this program does not know version {change.version}, and stops where it begins")
    with reach.open(key) as acting:
        _show_vote(acting, support(acting, change), json=json)


def _show_vote(acting: Acting, voted: Voted, *, json: bool) -> None:
    proposal = shown(voted.proposal)
    if json:
        said = {"decided": voted.decided, "voted_before": voted.before}
        print_document({**facts_of(acting, FORMAT), "proposal": proposal, **said})
        return
    say(f"proposal  {proposal['id']}: {says(proposal)}")
    votes = ", ".join(proposal["votes"])
    if voted.decided:
        say(f"decided   by the votes of {votes}")
        return
    before = "  (yours was there already)" if voted.before else ""
    say(f"votes     {len(proposal['votes'])} of the {proposal['needed']} it takes: {votes}{before}")


def _tell(listed: list[dict[str, Any]], proposals: list[dict[str, Any]]) -> None:
    for member in listed:
        left = "" if member["active"] else "  (removed)"
        left = "  (validates)" if member["validates"] else left
        say(f"member    {member['name']}  {member['fingerprint']}{left}")
        rows = [
            (each["role"], each["public"].hex(), "" if each["valid"] else "not valid any more")
            for each in member["keys"]
        ]
        for line in table(rows):
            say(f"          {line}")
    for each in proposals:
        votes = f"{len(each['votes'])} of {each['needed']} votes: {', '.join(each['votes'])}"
        say(f"proposal  {each['id']}: {says(each)}, {votes}")
