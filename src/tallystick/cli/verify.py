"""``tally verify``: check a bundle offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import mark, print_document, say, warn
from tallystick.errors import ConfigError
from tallystick.failure import DONE, FALSE

if TYPE_CHECKING:
    from tallystick.provenance.report import Report

__all__ = ["verify"]


def verify(  # noqa: PLR0917 - one argument per documented flag
    bundle: Annotated[Path, typer.Argument(help="The bundle, such as run.tally.")],
    genesis: Annotated[
        str,
        typer.Option(
            help="The genesis you trust: its hash, the published line NAME+HEX, or a file."
        ),
    ] = "",
    model: Annotated[
        Path | None, typer.Option(help="A model file that should be the task's.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Repeat every attested computation.")
    ] = False,
    blobs: Annotated[
        Path | None, typer.Option(help="A folder with updates that the bundle lacks.")
    ] = None,
    includes: Annotated[
        list[str] | None,
        typer.Option(metavar="ROOT", help="An update that should be in the model; repeatable."),
    ] = None,
    excludes: Annotated[
        list[str] | None,
        typer.Option(metavar="ROOT", help="An update that should not be in it; repeatable."),
    ] = None,
    min_signers: Annotated[
        int | None,
        typer.Option(min=0, help="How many members have to have co-signed; half by default."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="HEIGHT:HASH", help="A block that somebody you trust vouches for."),
    ] = None,
    json: Json = False,
) -> int:
    """Check a bundle offline: who made this model, of what, by which rules."""
    if not genesis:
        msg = "--genesis is missing: trust has to come from outside the bundle and its folder"
        hint = "each organisation publishes the line that `tally network card` prints, NAME+HEX"
        raise ConfigError(msg, hint=hint)
    from tallystick.provenance.verify import verify as check

    found = check(
        bundle,
        genesis,
        model=model,
        replay=replay,
        blobs=blobs,
        includes=includes or (),
        excludes=excludes or (),
        min_signers=min_signers,
        checkpoint=checkpoint,
    )
    _warn_of_neighbour(bundle, genesis)
    if json:
        print_document(found.to_json())
    else:
        _tell(found)
    return DONE if found.ok else FALSE


def _warn_of_neighbour(bundle: Path, genesis: str) -> None:
    try:
        beside = Path(genesis).is_file() and _folder(genesis) == _folder(bundle)
    except (OSError, ValueError):  # a hash in white space, say, that no file can be called
        beside = False
    if beside:
        warn("the genesis lies beside the bundle: who made one could have made the other")


def _tell(report: Report) -> None:
    for check in report.checks:
        say(mark(ok=check.ok), f" {check.id}: {check.says}")
    say()
    if report.model_root:
        say(f"model    {report.model_root}")
    if report.model_sha256:
        say(f"sha256   {report.model_sha256}")
    trial = "  (trial: anybody may know its keys)" if report.trial else ""
    say(f"genesis  {report.genesis}{trial}")
    verdict = "every check holds" if report.ok else "NOT as claimed"
    if report.ok and report.status != "done":
        verdict = f"every check holds, of a history without a result: the task is {report.status}"
    say(f"'{report.task}', {report.rounds} rounds, height {report.height}: {verdict}")


def _folder(path: str | Path) -> Path:
    return Path(path).resolve().parent
