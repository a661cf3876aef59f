"""``tally run``: a task file as a federation on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import Bar, print_document, quiet_stdout
from tallystick.cli.summary import tell_run
from tallystick.failure import DONE, FALSE

__all__ = ["run"]

FORMAT = "tally.run/1"


def run(
    task: Annotated[Path, typer.Argument(metavar="TASK.toml", help="A task file.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The run's folder; by default `tally-NAME` beside the task file. "
            "A run it holds goes on.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of keys, data and training; 0 unless the file says.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Instead of the file's.")] = None,
    json: Json = False,
) -> int:
    """Run a task as a federation on this machine, with the players of its [simulate] table."""
    from tallystick.lab.check_task import load_checked
    from tallystick.lab.simulated_run import check_run, document_of, play

    with quiet_stdout(), Bar() as bar:
        cast, _ = load_checked(task, seed=seed, rounds=rounds)
        folder = out if out is not None else task.parent / f"tally-{cast.task.name}"
        found = play(cast, folder, bar)
        result = document_of(cast, found, check_run(found))
    document = {**result.to_json(), "format": FORMAT}
    if json:
        print_document(document)
    else:
        tell_run(document)
    return DONE if result.ok else FALSE
