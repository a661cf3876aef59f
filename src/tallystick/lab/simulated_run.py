"""Play a cast: run its task, check what every run must pass, and say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError, RejectedError
from tallystick.federation.run import simulate
from tallystick.federation.task_text import task_text
from tallystick.lab.demos.audit import honest_refusals, replay_blocks, update_bytes
from tallystick.lab.demos.checks import Check, at_least, same
from tallystick.lab.demos.options import DemoOptions, silent
from tallystick.lab.demos.result import DemoResult
from tallystick.ledger.collect.rows import LIVE
from tallystick.mechanisms.records import ROUND
from tallystick.provenance.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallystick.federation.run import Run
    from tallystick.federation.simulation import Federation
    from tallystick.lab.simulate_table import Cast

__all__ = ["check_run", "document_of", "play"]

FULL_BPS = 10_000


def play(cast: Cast, out: Path, progress: Callable[[str, int, int], None] = silent) -> Run:
    """Run the cast's task in a folder, or go on with the run it holds.

    Raises
    ------
    ConfigError
        The task does not fit its players, or the folder holds another run.
    """
    effective = task_text(cast.task)
    beside = out / "task.toml"
    if (out / "run.json").exists() and beside.exists():
        try:
            known = beside.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            known = ""
        if known != effective:
            msg = f"{out} holds another run: its task.toml differs"
            raise ConfigError(msg, hint="name another --out, or remove the folder")

    def watch(federation: Federation) -> None:
        if not beside.exists():
            temporary = out / ".task.toml"
            temporary.write_text(effective, encoding="utf-8")
            temporary.replace(beside)
        for task in federation.engine.state.get(LIVE) or ():
            row = federation.row(task)
            done = row.round - 1 if row.phase == ROUND else 0
            progress("rounds", done, cast.task.rounds)

    return simulate(
        cast.task,
        cast.sites,
        initial=cast.initial,
        seed=cast.seed,
        out=out,
        conduct=dict(cast.attackers),
        isolate=cast.isolate,
        watch=watch,
    )


def check_run(run: Run) -> list[Check]:
    """Return the checks that every run must pass, computed from its bundle."""
    try:
        replayed = replay_blocks(run.bundle)
        strays, root = len(replayed.off), replayed.state_root
    except RejectedError:
        strays, root = None, ""
    report = verify(run.bundle, run.genesis, model=run.model_file, replay=True)
    failed = [check.id for check in report.checks if not check.ok]
    replay = next((check for check in report.checks if check.id == "replay"), None)
    ended = f"The task ended {run.status}{f' ({run.cause})' if run.cause else ''}"
    return [
        same("task-done", run.status, "done", f"{ended}."),
        at_least("rounds-completed", run.completed, 1, "Rounds that completed and were not void."),
        same(
            "supply-constant",
            strays,
            0,
            "Blocks after which all balances, escrows and bonds do not add up to the supply.",
        ),
        same(
            "second-replica",
            root,
            run.state_root,
            "A second replica that executes the blocks arrives at the same state.",
        ),
        same(
            "replay-exact",
            replay is not None and replay.ok,
            expected=True,
            says=f"Replay reproduces every model: {replay.says if replay else 'not reached'}.",
        ),
        same(
            "bundle-verifies",
            len(failed),
            0,
            f"Checks of the bundle that fail, of {len(report.checks)}"
            f"{': ' + ', '.join(failed) if failed else ''}.",
        ),
    ]


def document_of(cast: Cast, run: Run, checks: list[Check]) -> DemoResult:
    """Return what came of a run, in the form a demo's result has."""
    table = cast.task.simulate
    options = DemoOptions(
        recipe=cast.task.recipe.partition("/")[0],
        seed=cast.seed,
        members=len(cast.sites),
        rounds=cast.task.rounds,
        data=table.get("data"),
        target=table.get("target"),
        partition=table.get("partition", "iid"),
        attacks=list(table.get("attacks", [])),
        out=run.out,
    )
    labels = {name: attack.label for name, attack in cast.attackers.items()}
    return DemoResult(options, run, tuple(checks), _metrics(cast, run), labels)


def _metrics(cast: Cast, run: Run) -> dict[str, Any]:
    """Return accuracy on rows nobody holds, or as the sites see it, and what the run cost."""
    metrics: dict[str, Any] = dict(run.metrics)
    if cast.world is not None:
        metrics = {cast.world.metric: cast.world.measure(run.model)}
        success = cast.world.backdoor_success(run.model)
        if success is not None:
            metrics["backdoor_success"] = success
    honest = honest_refusals(run, frozenset(cast.attackers))
    sizes = update_bytes(run.bundle)
    metrics["seconds"] = run.seconds
    metrics["seconds_per_round"] = run.seconds / max(1, run.completed)
    if sizes:
        metrics["ledger_bytes_per_update"] = max(sizes)
    if honest.sent:
        metrics["honest_refused_bps"] = round(FULL_BPS * honest.refused_share)
    return metrics
