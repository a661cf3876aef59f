"""``tally task`` over a network: propose, approve, close, list, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallystick.cli.options import Authority, GenesisPin, Json, KeyFolder, NodeUrl, Proxy
from tallystick.cli.output import Bar, print_document, quiet_stdout, say, table
from tallystick.cli.reach import Reach, facts_of
from tallystick.cli.task_terms import tell_terms, terms_facts
from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.federation.approving import Approval
    from tallystick.federation.task_file import Task
    from tallystick.tensors.dtypes import Array

__all__ = ["FORMAT", "approve", "close", "list_", "propose", "show"]

FORMAT = "tally.task/1"
HINT = "name its file with --initial: safetensors, the arrays that your trainers train"
Name = Annotated[str, typer.Argument(metavar="NAME", help="The task's name on the ledger.")]


def propose(  # noqa: PLR0917 - one argument per documented flag
    url: NodeUrl,
    file: Annotated[Path, typer.Argument(metavar="TASK.toml", help="A task file.")],
    key: KeyFolder,
    initial: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.safetensors",
            help="What everybody starts from; by default what [simulate] would.",
        ),
    ] = None,
    terms_only: Annotated[
        bool, typer.Option("--terms-only", help="Print the terms; propose nothing.")
    ] = False,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Put a task to the approval of its members, and its initial model at the node.

    Members are those of the file's [rosters], or else all of the ledger's. Repeated with the same
    file, only what is missing is sent.
    """
    from tallystick.federation.locate import located
    from tallystick.federation.proposing import Proposed, terms_on
    from tallystick.federation.proposing import propose as put_forward
    from tallystick.federation.task_file import Task
    from tallystick.ledger.terms import task_id
    from tallystick.tensors.model import spec_of

    task = Task.load(file)
    arrays = _initial(task, file, initial)
    with Reach(url, ca, proxy, genesis).open(key) as acting, Bar() as bar:
        acting.check_identity()
        try:
            if terms_only:
                terms = terms_on(acting, task, None if arrays is None else spec_of(arrays))
                done = Proposed(task_id(terms), terms, before=False)
            else:
                done = put_forward(
                    acting, key, task, arrays, lambda at, size: bar("initial model", at, size)
                )
        except ConfigError as error:
            raise located(file, error) from error
        facts = facts_of(acting, FORMAT)
    if json:
        told = {**facts, **terms_facts(done.terms), "file": str(file)}
        print_document({**told, "proposed": not terms_only, "proposed_before": done.before})
        return
    tell_terms(done.terms)
    say(f"hash     {done.task.hex()}")
    if not terms_only:
        before = " before" if done.before else ""
        say(f"proposed{before}: it begins once {', '.join(done.terms.parties)} have approved it")


def approve(  # noqa: PLR0917 - one argument per documented flag
    url: NodeUrl,
    name: Name,
    key: KeyFolder,
    wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Wait so long for others' seals."),
    ] = 0.0,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Approve a task's terms, after fetching its initial model and checking that it fits.

    An approval is sealed, and revealed once everybody has sealed: by this command when it waits or
    is repeated, or by `tally join`.
    """
    from tallystick.federation.approving import approve as give
    from tallystick.federation.proposing import find_task
    from tallystick.ledger.collect.rows import TERMS

    with Reach(url, ca, proxy, genesis).open(key, "worker") as acting:
        task = find_task(acting.state, name)
        terms = acting.state.get(TERMS, task)
        given = give(acting, task, key, wait)
        facts = facts_of(acting, FORMAT)
    if json:
        said = {"approval": given.state, "waits_for": given.waits_for}
        print_document({**facts, "name": name, "hash": task, **said})
        return
    if terms is not None:
        tell_terms(terms)
    say(f"hash     {task.hex()}")
    _tell_approval(given, f"tally join {url} --key {key} --task {name}")


def close(
    url: NodeUrl,
    name: Name,
    key: KeyFolder,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """End a task of one's own early: the running round is finished, then it closes."""
    from tallystick.federation.proposing import find_task
    from tallystick.ledger.collect.rows import TASKS
    from tallystick.ledger.messages import CloseTask

    with Reach(url, ca, proxy, genesis).open(key) as acting:
        task = find_task(acting.state, name)
        row = acting.state.get(TASKS, task)
        before = row is not None and row.status == "running" and row.closing
        if not before:
            acting.act(CloseTask(task))
        row = acting.state.get(TASKS, task)
        facts = facts_of(acting, FORMAT)
    status = "" if row is None else row.status
    if json:
        print_document({**facts, "name": name, "hash": task, "status": status, "closing": True})
    else:
        say(f"{name} closes once the running round is finished ({status} now)")


def list_(
    url: NodeUrl,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """List a ledger's tasks, from blocks executed here."""
    from tallystick.federation.proposing import list_tasks, task_facts

    with Reach(url, ca, proxy, genesis).open() as acting:
        found = [task_facts(row, terms) for row, terms in list_tasks(acting.state)]
        facts = facts_of(acting, FORMAT)
    if json:
        print_document({**facts, "tasks": found})
        return
    rows = [
        (
            each["name"],
            each["status"] + (f" ({each['cause']})" if each["cause"] else ""),
            f"{each['phase']} {each['round']} of {each['rounds']}",
            f"{each['recipe']}, by {each['owner']}",
        )
        for each in found
    ]
    for line in table(rows):
        say(line)
    if not rows:
        say("no task was proposed yet")


def show(
    url: NodeUrl,
    name: Name,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    json: Json = False,
) -> None:
    """Print a task's terms as `tally task check` does, their hash, and where the task stands."""
    from tallystick.federation.proposing import PHASES, find_task, task_facts
    from tallystick.ledger.collect.rows import TASKS, TERMS

    with Reach(url, ca, proxy, genesis).open() as acting:
        task = find_task(acting.state, name)
        row, terms = acting.state.get(TASKS, task), acting.state.get(TERMS, task)
        facts = facts_of(acting, FORMAT)
    if row is None or terms is None:
        msg = f"this ledger has no task '{name}'"
        raise ConfigError(msg)
    if json:
        print_document({**facts, **terms_facts(terms), "task": task_facts(row, terms)})
        return
    tell_terms(terms)
    say(f"hash     {task.hex()}")
    cause = f" ({row.cause})" if row.cause else ""
    say(f"status   {row.status}{cause}, {PHASES[row.phase]} {row.round} of {terms.rounds}")


def _initial(task: Task, file: Path, initial: Path | None) -> Mapping[str, Array] | None:
    """Return what everybody starts from."""
    from tallystick.federation.proposing import load_initial
    from tallystick.lab.check_task import initial_arrays
    from tallystick.lab.simulate_table import load_cast

    if initial is not None:
        return load_initial(initial)
    if not task.simulate:
        msg = f"{file} does not say what everybody starts from"
        raise ConfigError(msg, hint=HINT)
    with quiet_stdout():
        return initial_arrays(load_cast(file))


def _tell_approval(given: Approval, join: str) -> None:
    others = f": {', '.join(given.waits_for)} have not" if given.waits_for else ""
    if given.state == "revealed":
        say(f"approved{others}")
        return
    say(f"sealed{others}")
    say("it is revealed once everybody has sealed, by this command repeated, or by")
    say(join)
