"""Which CometBFT runs: asked what it is, once for as long as the file stays the same."""

import hashlib
import json
import os
import stat

import pytest

from tallystick.consensus.cometbft import binary
from tallystick.consensus.cometbft.binary import (
    VERSION,
    adopt_binary,
    find_binary,
    install_binary,
    kept_binary,
)
from tallystick.errors import ConfigError, UnavailableError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A machine without a CometBFT; its programs lie in the folder returned."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.delenv("TALLY_COMETBFT", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write_program(path, version=VERSION, abci="2.0.0", text=None):
    """Write a program that says what it is, and notes that it was asked."""
    said = json.dumps({"cometbft": version, "abci": abci}) if text is None else text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho asked >> {path}.asked\necho '{said}'\n")
    path.chmod(0o755)
    return path


def times_asked(path):
    noted = path.with_name(f"{path.name}.asked")
    return noted.read_text().count("asked") if noted.exists() else 0


def test_the_variable_comes_before_our_own_and_that_before_path(place, monkeypatch):
    on_path = write_program(place / "cometbft")
    assert (find_binary().path, find_binary().source) == (on_path, "path")
    own = write_program(kept_binary())
    assert (find_binary().path, find_binary().source) == (own, "cache")
    named = write_program(place / "other", f"{VERSION}+abc")
    monkeypatch.setenv("TALLY_COMETBFT", str(named))
    found = find_binary()

    assert (found.path, found.source, found.version) == (named, "variable", f"{VERSION}+abc")
    assert found.digest == hashlib.sha256(named.read_bytes()).digest()


def test_a_file_is_asked_again_once_it_has_changed(place):
    program = write_program(place / "cometbft")
    for _ in range(3):
        find_binary()
    assert times_asked(program) == 1
    os.utime(program, ns=(1, 1))
    find_binary()

    assert times_asked(program) == 2


@pytest.mark.parametrize("note", ["", "[]", "{", '{"x": 1}'])
def test_a_damaged_note_is_written_again(place, tmp_path, note):
    program = write_program(place / "cometbft")
    find_binary()
    (tmp_path / "data" / "tallystick" / "cometbft-asked.json").write_text(note)
    find_binary()
    find_binary()

    assert times_asked(program) == 2


@pytest.mark.parametrize(
    ("version", "abci", "text"),
    [
        ("0.38.25", "2.0.0", None),
        ("0.39.40", "2.0.0", None),
        ("0.39.4-rc1", "2.0.0", None),
        (VERSION, "1.0.0", None),
        ("", "", "nonsense"),
        ("", "", "[]"),
        ("", "", '{"cometbft": 3}'),
    ],
)
def test_another_program_is_not_run(place, monkeypatch, version, abci, text):
    program = write_program(place / "cometbft", version, abci, text)
    with pytest.raises(UnavailableError, match=f"not installed.*{VERSION}") as missing:
        find_binary()
    assert missing.value.hint == "tally network engine --install"
    monkeypatch.setenv("TALLY_COMETBFT", str(program))

    with pytest.raises(ConfigError, match=r"TALLY_COMETBFT: .*cometbft"):
        find_binary()


def test_what_the_variable_names_has_to_be_there(place, monkeypatch):
    monkeypatch.setenv("TALLY_COMETBFT", str(place / "nowhere"))
    with pytest.raises(ConfigError, match="nowhere"):
        find_binary()


def test_a_file_that_is_known_is_kept_whole_and_can_be_run(place):
    program = write_program(place / "downloaded")
    program.chmod(0o644)
    known = hashlib.sha256(program.read_bytes()).hexdigest()
    found = adopt_binary(program, [known])

    assert found == find_binary()
    assert (found.path, found.digest.hex()) == (kept_binary(), known)
    assert kept_binary().stat().st_mode & stat.S_IXUSR
    assert [path.name for path in kept_binary().parent.glob(".build*")] == []


def test_a_file_that_is_not_known_is_refused_naming_both_digests(place):
    program = write_program(place / "downloaded")
    known = "ab" * 32
    with pytest.raises(ConfigError, match=known) as refused:
        adopt_binary(program, [known])

    assert hashlib.sha256(program.read_bytes()).hexdigest() in str(refused.value)
    assert not kept_binary().exists()
    with pytest.raises(ConfigError, match="nowhere"):
        adopt_binary(place / "nowhere")


GO = """#!/bin/sh
[ "$CGO_ENABLED" = 0 ] && [ "$GOFLAGS" = -trimpath ] && [ -z "$GOOS" ] || exit 9
[ "$*" = "install github.com/cometbft/cometbft/cmd/cometbft@v0.39.4" ] || exit 8
/bin/cp "$MADE" "$GOBIN/cometbft"
"""


def test_what_go_builds_is_kept(place, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("MADE", str(write_program(tmp_path / "made")))
    (place / "go").write_text(GO)
    (place / "go").chmod(0o755)
    found = install_binary()

    assert found == find_binary()
    assert (found.path, found.source) == (kept_binary(), "cache")
    assert [path.name for path in kept_binary().parent.glob(".build*")] == []


@pytest.mark.parametrize(
    ("go", "said"),
    [
        ("echo 'go: no network' >&2; exit 1", "go: no network"),
        ("exit 3", "exit status 3"),
        ("exit 0", "exit status 0"),
    ],
)
def test_a_build_that_fails_says_why_and_keeps_nothing(place, go, said):
    (place / "go").write_text(f"#!/bin/sh\n{go}\n")
    (place / "go").chmod(0o755)
    with pytest.raises(UnavailableError, match=said):
        install_binary()

    assert list(kept_binary().parent.iterdir()) == []


def test_without_go_nothing_can_be_built():
    with pytest.raises(UnavailableError, match="takes Go"):
        install_binary()


def test_every_pinned_digest_is_one():
    assert all(len(bytes.fromhex(digest)) == 32 for digest in binary.PINNED.values())
