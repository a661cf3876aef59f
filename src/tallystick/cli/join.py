"""``tally join``: take part in a task from this machine."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.cli.options import Authority, GenesisPin, Json, KeyFolder, Proxy
from tallystick.cli.output import Bar, print_document, quiet_stdout, say, warn
from tallystick.errors import ConfigError
from tallystick.failure import DONE, FALSE

if TYPE_CHECKING:
    from tallystick.federation.joining import Joined, Progress

__all__ = ["join"]

FORMAT = "tally.join/1"


def join(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="A node, or several.")],
    *,
    key: KeyFolder,
    task: Annotated[str, typer.Option(metavar="NAME", help="The task to take part in.")],
    trainer: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="Your trainer.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An argument of your trainer."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Train on this table instead.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The table's column to predict.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Do what is owed now, and do not wait for more.")
    ] = False,
    ca: Authority = None,
    proxy: Proxy = None,
    genesis: GenesisPin = "",
    terms: Annotated[
        str, typer.Option(metavar="HEX", help="Approve these terms and no others.")
    ] = "",
    dataset: Annotated[
        str, typer.Option(metavar="HEX", help="Charge this data set; needed if there are several.")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
    json: Json = False,
) -> int:
    """Take part in a task until it has ended; goes on where it stopped.

    Taking part approves the task's terms, unless `tally task approve` did before.
    """
    from tallystick.federation.joining import join as take_part

    with quiet_stdout(), Bar() as bar:
        _log(verbose=verbose)
        site = _trainer(trainer, settings or [], data, target)
        joined = take_part(
            urls,
            task=task,
            trainer=site,
            home=key,
            once=once,
            ca=ca,
            proxy=proxy,
            genesis=genesis,
            terms=terms,
            dataset=dataset,
            watch=lambda seen: _show(bar, seen),
        )
    document = _document(task, joined)
    if json:
        print_document(document)
    else:
        _tell(document)
    return DONE if document["ok"] else FALSE


def _trainer(
    trainer: str | None, settings: list[str], data: Path | None, target: str | None
) -> object:
    from tallystick.lab.simulate_table import make_trainer

    arguments: dict[str, Any] = dict(_setting(text) for text in settings)
    if (trainer is None) == (data is None):
        msg = "say who trains: --trainer MODULE:CLASS, or --data FILE.csv with --target COLUMN"
        raise ConfigError(msg)
    if trainer is not None:
        if target is not None:
            msg = "--target goes with --data"
            raise ConfigError(msg, hint="give a trainer its arguments with --set KEY=VALUE")
        return make_trainer(trainer, arguments, Path.cwd())
    from tallystick.lab.csv_trainer import CsvTrainer

    unknown = sorted(set(arguments) - {"classes"})
    if unknown:
        msg = f"--set {unknown[0]}: a table's trainer has no such argument"
        raise ConfigError(msg, hint="it has classes; how it trains is in the task's [train]")
    if data is None or target is None:
        msg = f"{data}: say which column to predict"
        raise ConfigError(msg, hint="--target COLUMN")
    return CsvTrainer(data, target, str(arguments.get("classes", "")))


def _setting(text: str) -> tuple[str, Any]:
    """Return name and value; a value that TOML does not know is text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        msg = f"--set {text}: KEY=VALUE"
        raise ConfigError(msg)
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _show(bar: Bar, seen: Progress) -> None:
    bar(f"round {seen.round}: {seen.what}" if seen.round else seen.what, seen.round, seen.rounds)


def _log(*, verbose: bool) -> None:
    logger = logging.getLogger("tallystick")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


def _document(task: str, joined: Joined) -> dict[str, Any]:
    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    return {
        "format": FORMAT,
        "ok": joined.status in {"done", "running", "waiting"},
        "task": task,
        "status": joined.status,
        "cause": joined.cause,
        "rounds_completed": joined.completed,
        "genesis": joined.genesis,
        "model_root": joined.model_root or None,
        "files": {
            "model": text(joined.model_file),
            "bundle": text(joined.bundle),
            "metrics": text(joined.metrics_file),
        },
    }


def _tell(document: dict[str, Any]) -> None:
    say(f"task     {document['task']}: {document['status']}")
    say(f"rounds   {document['rounds_completed']} completed")
    if document["cause"]:
        warn(f"it ended for this reason: {document['cause']}")
    if document["model_root"]:
        say(f"model    {document['model_root']}")
    for kind, path in document["files"].items():
        if path is not None:
            say(f"{kind:<8} {path}")
