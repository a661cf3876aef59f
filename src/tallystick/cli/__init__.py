"""The command line: ``tally VERB``. Each verb is a module that imports what it needs when it runs.

``main`` is the only place where errors become exit statuses.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.main import get_command

from tallystick.cli.bench import bench
from tallystick.cli.demo import demo
from tallystick.cli.explain import explain
from tallystick.cli.failure import report, wants_json
from tallystick.cli.join import join
from tallystick.cli.key import keys
from tallystick.cli.lab import lab
from tallystick.cli.log import log
from tallystick.cli.member import members
from tallystick.cli.network import network
from tallystick.cli.node import node
from tallystick.cli.run import run
from tallystick.cli.status import status
from tallystick.cli.task import tasks
from tallystick.cli.verify import verify
from tallystick.failure import DONE, INTERRUPTED, UNAVAILABLE, describe

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["app", "main"]

app = typer.Typer(
    name="tally",
    help="Train a model together without a server, and prove its whole history offline.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(run)
app.add_typer(tasks, name="task")
app.command()(verify)
app.command()(explain)
app.command()(log)
app.command()(join)
app.add_typer(lab, name="lab")
app.command()(bench)
app.add_typer(keys, name="key")
app.add_typer(network, name="network")
app.add_typer(node, name="node")
app.add_typer(members, name="member")
app.command()(status)


def _show_version(wanted: bool) -> None:
    if wanted:
        from tallystick import __version__

        print(f"tally {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train a model together without a server, and prove its whole history offline."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit status.

    Parameters
    ----------
    arguments
        What follows the program's name; by default what the program was called with.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = wants_json(given)
    _tolerate_any_text()
    try:
        with _terminated_like_interrupted():
            return _invoke(given or ["--help"])
    except BrokenPipeError:
        status = _reader_left()
        return DONE if given[:1] == ["log"] else status  # whoever has read enough got what it asked
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - this is where they all end
        failure = describe(error)
        try:
            return report(failure, as_json=as_json)
        except BrokenPipeError:
            return _reader_left()
        except OSError:  # standard output is full: what went wrong must still be said
            _reader_left()
            return report(failure, as_json=False) or UNAVAILABLE


def _invoke(arguments: list[str]) -> int:
    """Run a verb; its errors come out as they are, which Typer's own entry does not allow."""
    command = get_command(app)
    try:
        with command.make_context("tally", arguments) as context:
            result: Any = command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    return result if isinstance(result, int) else DONE


@contextmanager
def _terminated_like_interrupted() -> Generator[None]:
    """Let SIGTERM end a verb as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:  # nobody else's by now
            signal.signal(signal.SIGTERM, before)


def _tolerate_any_text() -> None:
    """Print what the terminal's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _reader_left() -> int:
    """End quietly when whoever read standard output has gone, as ``head`` does."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return INTERRUPTED
