"""What the page on running a node says can be done, done: backups, keys, certificates."""

from __future__ import annotations

import json
import shutil
import sqlite3
import ssl
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import command, environment, write_task
from support.node_process import NAMES, SEALER, Node

from tallystick.cli import main
from tallystick.federation.settings import NodeSettings

pytestmark = pytest.mark.network

SECONDS = 90
TASK = """
name = "tiny"
recipe = "chain-fl"
owner = "north"
rounds = 2
gap = "1m"

[simulate]
trainer = "own_site:Site"
members = ["east", "north", "south"]
"""


@pytest.fixture
def node(tmp_path):
    """A node of a trial network; started by the test."""
    made = Node(tmp_path)
    yield made
    made.close()


@pytest.fixture
def tally(capfd):
    """Run a verb in this process; return status and document."""

    def run(*arguments):
        capfd.readouterr()
        status = main([*map(str, arguments), "--json"])
        return status, json.loads(capfd.readouterr().out)

    return run


def test_a_backup_made_while_it_runs_is_whole(node, tally, tmp_path):
    _grow(node.start(), tally, "north")
    copy = _back_up(node.home / "ledger.db", tmp_path / "copy.db")
    before = tally("status", node.url)[1]
    assert node.end() == 0
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (node.home / name).unlink(missing_ok=True)
    shutil.copyfile(copy, node.home / "ledger.db")
    after = tally("status", node.start().url)[1]

    assert before["height"] == after["height"] > 0
    assert before["state_root"] == after["state_root"]


def test_a_node_put_back_in_time_is_noticed_and_mended_from_a_members_copy(
    node, tally, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # where the trainer is
    _grow(node.start(), tally, "north")
    old = _back_up(node.home / "ledger.db", tmp_path / "old.db")
    for _ in range(2):
        _grow(node, tally, "north")
    site = _site(tmp_path)
    follow = ("--key", node.key("south"), "--task", "later", *site, "--once")
    status, joined = tally("join", node.url, *follow)
    assert (status, joined["status"]) == (0, "waiting")
    height = tally("status", node.url)[1]["height"]
    assert tally("join", node.url, *follow, "--genesis", "0" * 64)[0] == 2  # it follows another
    node.end()

    shutil.copyfile(old, node.home / "ledger.db")
    status, said = tally("join", node.start().url, *follow)
    (evidence,) = (node.key("south") / "member" / "evidence").glob("*.json")

    assert status == 1
    assert said["error"]["code"] == "lying-node"
    assert json.loads(evidence.read_text())["lie"] == "old-head"

    node.end()
    with closing(sqlite3.connect(node.key("south") / "member" / "ledger.db")) as ledger:
        assert ledger.execute("select max(height) from blocks").fetchone() == (height,)
    _back_up(node.key("south") / "member" / "ledger.db", node.home / "ledger.db")
    status, joined = tally("join", node.start().url, *follow)
    _grow(node, tally, "north")

    assert (status, joined["status"]) == (0, "waiting")
    assert tally("status", node.url)[1]["height"] > height


def test_keys_are_replaced_while_members_take_part(node, tally, tmp_path):
    url = node.start().url
    site = _site(tmp_path)
    processes = {
        name: subprocess.Popen(
            command("join", url, "--key", node.key(name), "--task", "tiny", *site),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in NAMES
    }
    try:
        seen = set()
        while seen != set(NAMES):  # each has come to wait for the task
            seen = set(tally("status", url)[1]["seen"]) | _following(node)
        key = ("--key", node.key("south"))
        assert tally("member", "rotate", url, *key)[0] == 0
        assert tally("member", "rotate", url, *key, "--role", "owner")[0] == 0
        file = write_task(tmp_path, text=TASK)
        assert tally("task", "propose", url, file, "--key", node.key("north"))[0] == 0
        said = {name: each.communicate(timeout=SECONDS)[0] for name, each in processes.items()}
    finally:
        for each in processes.values():
            each.kill()

    assert {name: each.returncode for name, each in processes.items()} == dict.fromkeys(NAMES, 0), (
        said
    )
    models = {(node.key(name) / "tiny" / "model.safetensors").read_bytes() for name in NAMES}
    assert len(models) == 1


def test_the_sealers_key_is_replaced_while_the_node_runs(node, tally):
    url = node.start().url
    status, said = tally("member", "rotate", url, "--key", node.key(SEALER), "--role", "validator")
    assert (status, said["seals"]) == (0, True)
    before = tally("status", url)[1]["height"]
    _grow(node, tally, "south")

    assert tally("status", url)[1]["height"] > before
    assert node.end() == 0


def test_a_lost_owner_key_is_replaced_by_the_others(tmp_path, tally):
    names = ("east", "north", "south", "west")
    four = Node(tmp_path, names)
    try:
        url, new = four.start().url, tmp_path / "new"
        (four.key("west") / "west.key").unlink()
        assert tally("key", "new", "west", "--out", new)[0] == 0
        change = ("--replace-owner", new / "west.card")
        decided = [
            tally("member", "propose", url, "--key", four.key(name), *change)[1]["decided"]
            for name in names[:3]
        ]
        for role in ("worker", "validator"):
            assert tally("member", "rotate", url, "--key", new, "--role", role)[0] == 0
    finally:
        four.close()

    assert decided == [False, False, True]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_a_certificate_and_then_the_authority_are_replaced(node, tally, tmp_path):
    for name in ("old", "new"):
        _authority(tmp_path, name)
    both = tmp_path / "both.pem"
    both.write_text("".join((tmp_path / f"{each}.pem").read_text() for each in ("old", "new")))
    settings = NodeSettings(certificate="node.pem", certificate_key="node.key")
    (node.home / "node.toml").write_text(settings.to_toml())
    served = []
    for authority in ("old", "old", "new"):
        _certificate(tmp_path, authority, node.home)
        url = _start_with_tls(node)
        port = int(url.rpartition(":")[2])
        served.append(ssl.get_server_certificate(("localhost", port)))
        assert tally("status", url, "--ca", both)[0] == 0
        assert tally("status", url, "--ca", tmp_path / "old.pem")[0] == (3, 0)[authority == "old"]
        node.end()

    assert len(set(served)) == 3


def test_a_member_is_admitted_and_removed(node, tally, tmp_path):
    url = node.start().url
    west = tmp_path / "west"
    assert tally("key", "new", "west", "--out", west)[0] == 0
    card = ("--admit", west / "west.card")
    votes = [tally("member", "propose", url, "--key", node.key(name), *card) for name in NAMES]
    assert [(status, said["decided"]) for status, said in votes] == [
        (0, False),
        (0, False),
        (0, True),
    ]
    assert "west" in tally("status", url)[1]["members"]
    for name in NAMES:
        assert tally("member", "remove", url, "west", "--key", node.key(name))[0] == 0

    assert "west" not in tally("status", url)[1]["members"]


def test_the_nodes_numbers_are_those_the_page_names(node):
    import httpx  # noqa: PLC0415 - for this test alone

    url = node.start().url
    said = httpx.get(f"{url}/metrics", trust_env=False).text
    page = (Path(__file__).parents[2] / "docs" / "operate.md").read_text(encoding="utf-8")
    names = {
        line.split()[2].removesuffix("_total") for line in said.splitlines() if "# HELP" in line
    }
    ours = {name for name in names if name.startswith("tally_") and not name.endswith("_created")}

    assert len(ours) > 5
    assert [name for name in sorted(ours) if name not in page] == []
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200


def test_every_setting_is_on_the_page():
    page = (Path(__file__).parents[2] / "docs" / "operate.md").read_text(encoding="utf-8")

    assert [key for key in NodeSettings.__slots__ if f"`{key}`" not in page] == []


def _grow(node, tally, name):
    """Let a member bring about a block."""
    assert tally("member", "rotate", node.url, "--key", node.key(name))[0] == 0


def _back_up(source, copy):
    """Copy a database that may be in use, by the page's command where there is one."""
    if shutil.which("sqlite3"):
        Path(copy).unlink(missing_ok=True)
        for beside in ("-wal", "-shm"):
            Path(f"{copy}{beside}").unlink(missing_ok=True)
        subprocess.run(["sqlite3", str(source), f".backup '{copy}'"], check=True)
        return copy
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(copy)) as other:
        one.backup(other)
    return copy


def _site(tmp_path):
    """Return how a site without data is named on the command line."""
    write_task(tmp_path, text=TASK)
    return ("--trainer", "own_site:Site", "--set", "name=any")


def _following(node):
    """Return who has opened its copy of the ledger and waits."""
    return {name for name in NAMES if (node.key(name) / "member" / "journal").exists()}


def _openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _authority(folder, name):
    subject = ("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
    _openssl(folder, "req", "-x509", *KEY, "-days", "2", *subject, *files)


def _certificate(folder, authority, home):
    (folder / "ext").write_text("subjectAltName = DNS:localhost\nauthorityKeyIdentifier = keyid\n")
    _openssl(folder, "req", *KEY, "-subj", "/CN=localhost", "-keyout", "k", "-out", "csr")
    signer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key")
    _openssl(folder, "x509", "-req", "-in", "csr", *signer, "-extfile", "ext", "-out", "c")
    shutil.copyfile(folder / "c", home / "node.pem")
    shutil.copyfile(folder / "k", home / "node.key")


def _start_with_tls(node):
    """Start it; the support for trial nodes expects no TLS."""
    with (node.home / "log").open("ab") as log:
        node.process = subprocess.Popen(
            command("node", "start", node.home, "--port", "0"),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(),
        )
    line = node.process.stdout.readline()
    assert line.startswith("serving net at https://127.0.0.1:"), (line, node.log)
    return line.split()[-1].replace("127.0.0.1", "localhost")
