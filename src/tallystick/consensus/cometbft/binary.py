"""Which CometBFT runs: one version, found where it is told, kept or installed, and asked first.

A wrong version would not fail at once: it would disagree about a block's hash some day. So the
program is asked what it is, and what it said is remembered for as long as the file stays the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tallystick.errors import ConfigError, UnavailableError
from tallystick.storage.files import Identity, chunks_of, identity_of, open_regular, write_new

__all__ = [
    "PINNED",
    "VARIABLE",
    "VERSION",
    "Binary",
    "adopt_binary",
    "find_binary",
    "install_binary",
    "kept_binary",
]

VERSION = "0.39.4"
ABCI = "2.0.0"
VARIABLE = "TALLY_COMETBFT"
PACKAGE = "github.com/cometbft/cometbft/cmd/cometbft"
# SHA-256 of what `install_binary` builds: the same in every folder and with an empty build cache.
PINNED: Mapping[str, str] = {
    "linux/amd64, go1.26.8": "cf1dbda1ba42015bed6bf7f644927832fae9596ca8f704bf483f2af7fc7e96bf",
}
# Whatever of these is set must not change the build; the first two stop it.
FOREIGN = ("GOOS", "GOARCH", "GOEXPERIMENT", "GODEBUG", "GOFIPS140")
BUILD = {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath", "GOAMD64": "v1", "GOARM64": "v8.0"}
BUILD_SECONDS, ASK_SECONDS = 1800.0, 30.0
READ_BYTES = 1 << 20
MOST_REMEMBERED = 16
HINT = "tally network engine --install"

Source = Literal["variable", "cache", "path"]


@dataclass(frozen=True, slots=True)
class Binary:
    """A CometBFT that may run.

    Attributes
    ----------
    path
        Where it is.
    version
        What it calls itself, perhaps with a commit after ``+``.
    digest
        SHA-256 of the file, 32 bytes.
    source
        Found by the variable, in our own folder, or on ``PATH``.
    """

    path: Path
    version: str
    digest: bytes
    source: Source

    @property
    def is_pinned(self) -> bool:
        """Whether it is byte for byte what was built and tried here."""
        return self.digest.hex() in PINNED.values()


def kept_binary() -> Path:
    """Return where our own CometBFT is, installed or not."""
    return _data_folder() / f"cometbft-{VERSION}" / "cometbft"


def find_binary() -> Binary:
    """Return the CometBFT to run.

    What the variable ``TALLY_COMETBFT`` names comes first and alone; then our own, then ``PATH``.

    Raises
    ------
    ConfigError
        What the variable names is no CometBFT of this version.
    UnavailableError
        There is none; the hint installs it.
    """
    named = os.environ.get(VARIABLE)
    if named:
        try:
            return _asked(Path(named), "variable")
        except ConfigError as error:
            msg = f"{VARIABLE}: {error}"
            raise ConfigError(msg, hint=f"unset it, or name a cometbft {VERSION}") from error
    on_path = shutil.which("cometbft")
    candidates: list[tuple[Path, Source]] = [(kept_binary(), "cache")]
    if on_path:
        candidates.append((Path(on_path), "path"))
    refused: list[str] = []
    for path, source in candidates:
        if path.exists():
            try:
                return _asked(path, source)
            except ConfigError as error:
                refused.append(str(error))
    why = f" ({'; '.join(refused)})" if refused else ""
    msg = f"CometBFT {VERSION} is not installed{why}"
    raise UnavailableError(msg, hint=HINT)


def install_binary() -> Binary:
    """Build CometBFT with Go, from sources that Go checks, and keep it.

    Raises
    ------
    UnavailableError
        There is no Go, or it could not build; the same call may be repeated.
    """
    go = shutil.which("go")
    if go is None:
        msg = f"building CometBFT {VERSION} takes Go, and there is none on PATH"
        raise UnavailableError(msg, hint="install Go 1.25 or newer, or give --binary FILE")
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    with _building() as folder:
        command = [go, "install", f"{PACKAGE}@v{VERSION}"]
        try:
            done = subprocess.run(  # noqa: S603 - Go, found on PATH
                command,
                env={**environment, **BUILD, "GOBIN": folder},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            msg = f"Go could not build CometBFT {VERSION}: {error}"
            raise UnavailableError(msg, hint="try again, or give --binary FILE") from error
        built = Path(folder) / "cometbft"
        if done.returncode or not built.exists():
            said = _last_line(done.stderr) or f"exit status {done.returncode}"
            msg = f"Go could not build CometBFT {VERSION}: {said}"
            raise UnavailableError(msg, hint="see that Go 1.25 or newer reaches its module proxy")
        return _keep(built)


def adopt_binary(file: Path, pinned: Collection[str] = tuple(PINNED.values())) -> Binary:
    """Keep a CometBFT that somebody else built, if it is one of those built and tried here.

    Parameters
    ----------
    pinned
        SHA-256 in hexadecimal of the files to accept.

    Raises
    ------
    ConfigError
        It is another file, or no file; the message names both digests.
    UnavailableError
        The disk is full or failed.
    """
    with _building() as folder, open_regular(file, "name a cometbft file") as source:
        copy = Path(folder) / "cometbft"
        hashed = hashlib.sha256()
        with copy.open("wb") as target:  # what is hashed is what is kept
            for chunk in chunks_of(source, READ_BYTES):
                hashed.update(chunk)
                target.write(chunk)
        if hashed.hexdigest() not in pinned:
            msg = f"{file} has the SHA-256 {hashed.hexdigest()}, not {' or '.join(pinned)}"
            hint = f"build it with `{HINT}`, or trust it yourself: {VARIABLE}={file}"
            raise ConfigError(msg, hint=hint)
        copy.chmod(0o755)
        return _keep(copy)


def _building() -> tempfile.TemporaryDirectory[str]:
    """Return a folder beside the one for our own binary, so that a file moves there whole."""
    try:
        kept_binary().parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".build-", dir=kept_binary().parent)
    except OSError as error:
        msg = f"{kept_binary().parent}: {error.strerror or error}"
        raise UnavailableError(msg, hint="name another folder with XDG_DATA_HOME") from error


def _keep(built: Path) -> Binary:
    try:
        built.replace(kept_binary())
    except OSError as error:
        msg = f"{kept_binary()}: {error.strerror or error}"
        raise UnavailableError(msg, hint="see the disk and its space") from error
    return _asked(kept_binary(), "cache")


def _asked(path: Path, source: Source) -> Binary:
    """Return what a file is; refuse what is no CometBFT of this version."""
    path = path.resolve()
    with open_regular(path, f"name a cometbft {VERSION}") as file:
        identity = identity_of(file.fileno())
        version, digest = _remembered(path, identity)
        if not version:
            version = _ask(path)
            hashed = hashlib.sha256()
            for chunk in chunks_of(file, READ_BYTES):
                hashed.update(chunk)
            digest = hashed.hexdigest()
            _remember(path, identity, version, digest)
    return Binary(path, version, bytes.fromhex(digest), source)


def _ask(path: Path) -> str:
    """Return the version a program says it has, if it is ours and speaks our ABCI."""
    nowhere = str(path.parent / ".none")  # or it would read the configuration of somebody's node
    said: dict[str, Any] = {}
    try:
        done = subprocess.run(  # noqa: S603 - asked what it is before it is trusted
            [str(path), "version", "--verbose", "--home", nowhere],
            capture_output=True,
            timeout=ASK_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout)
        said = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    except (OSError, ValueError, subprocess.TimeoutExpired):
        pass
    version, abci = str(said.get("cometbft", "")), str(said.get("abci", ""))
    if version.partition("+")[0] != VERSION or abci != ABCI:
        if version and abci:
            msg = f"{path} is CometBFT {version} with ABCI {abci}, not {VERSION} with {ABCI}"
        else:
            msg = f"{path} does not say that it is CometBFT {VERSION}"
        raise ConfigError(msg, hint=HINT)
    return version


def _remembered(path: Path, identity: Identity) -> tuple[str, str]:
    """Return version and digest of a file that was asked before and has not changed."""
    version, _, digest = _notes().get(_key(path, identity), "").partition(" ")
    return version, digest


def _remember(path: Path, identity: Identity, version: str, digest: str) -> None:
    notes = {**_notes(), _key(path, identity): f"{version} {digest}"}
    kept = dict(list(notes.items())[-MOST_REMEMBERED:])
    with suppress(OSError):  # without a note it is asked again
        _notes_file().parent.mkdir(parents=True, exist_ok=True)
        write_new(_notes_file(), json.dumps(kept).encode())


def _key(path: Path, identity: Identity) -> str:
    return f"{path} {' '.join(map(str, identity))}"


def _notes() -> dict[str, str]:
    try:
        found = json.loads(_notes_file().read_bytes())
    except (OSError, ValueError):
        return {}
    pairs = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    return {key: value for key, value in pairs.items() if isinstance(value, str)}


def _notes_file() -> Path:
    return _data_folder() / "cometbft-asked.json"


def _data_folder() -> Path:
    named = os.environ.get("XDG_DATA_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".local" / "share"
    return base / "tallystick"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
