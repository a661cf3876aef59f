"""A CometBFT beside a node: where it listens, and four that make blocks together."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from msgspec import structs
from support.commands import environment

from tallystick.consensus.cometbft.binary import Binary, find_binary
from tallystick.consensus.cometbft.home import node_id
from tallystick.crypto import keys
from tallystick.errors import ConfigError, UnavailableError
from tallystick.federation.network_folder import plan_settings
from tallystick.federation.settings import NodeSettings
from tallystick.federation.trial import secret_of, simulated_genesis
from tallystick.ledger.genesis import engine_chain_id
from tallystick.node.engine import Meeting, prepare_engine, write_engine
from tallystick.node.processes import process_states, started_at

NAMES = ("east", "north", "south", "west")
GENESIS = structs.replace(simulated_genesis("heart", NAMES, 0), engine="cometbft")
SECRETS = {name: secret_of(0, name, "validator") for name in NAMES}
NONE = Binary(Path("/nowhere/cometbft"), "0.39.4", bytes(32), "path")
SUPERVISE = """
import sys
from pathlib import Path
from tallystick.node.program import Program
from tallystick.node.supervisor import supervise

folder, *command = sys.argv[1:]
programs = [
    Program("application", ("sleep", "1000")),
    Program("cometbft", tuple(command), log=Path(folder) / "cometbft.log"),
]
sys.exit(supervise(Path(folder), programs))
"""


def prepare(folder, **others):
    return prepare_engine(folder, NodeSettings(**others), binary=NONE)


def test_ports_are_free_ones_where_none_is_named(tmp_path):
    prepared = prepare(tmp_path)
    named = prepare(tmp_path, engine_port=7)

    assert len({prepared.rpc_port, prepared.metrics_port, 0}) == 3
    assert (named.rpc_port, named.rpc_url) == (7, "http://127.0.0.1:7")
    assert Meeting.from_text(named.to_text()) == Meeting(
        named.home, named.socket, named.rpc_port, named.metrics_port
    )


def test_others_know_a_node_by_its_first_key(tmp_path):
    planned = plan_settings(NAMES, {}, genesis=GENESIS)
    prepared = prepare(tmp_path)
    write_engine(prepared, GENESIS, planned["north"], SECRETS["south"], SECRETS["north"])
    node = json.loads((prepared.home / "config/node_key.json").read_text())
    voter = json.loads((prepared.home / "config/priv_validator_key.json").read_text())
    known_by = node_id(b64decode(node["priv_key"]["value"])[32:])

    assert voter["address"].lower() == node_id(keys.public_of(SECRETS["south"]))
    assert any(peer.startswith(f"{known_by}@") for peer in planned["east"].peers)


def test_the_socket_is_in_the_folder_or_somewhere_short_and_private(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / ("x" * 80)))
    deep = tmp_path / ("y" * 90)
    first, second = prepare(deep), prepare(deep)
    try:
        assert first.socket == second.socket
        assert len(os.fsencode(first.socket)) <= 100
        assert first.socket.parent.stat().st_mode & 0o077 == 0
        first.socket.parent.chmod(0o755)
        with pytest.raises(ConfigError, match="open to others"):
            prepare(deep)
    finally:
        first.socket.parent.rmdir()


def test_a_short_folder_holds_its_socket(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if len(os.fsencode(tmp_path)) < 80:
        assert prepare(Path("n")).socket == tmp_path.resolve() / "n/cometbft/app.sock"


def test_the_environment_does_not_change_the_configuration(tmp_path, monkeypatch):
    for name in ("CMTHOME", "TMHOME", "CMT_P2P_LADDR", "CMTX"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("TZ", "UTC")
    found = prepare(tmp_path).environment

    assert not {"CMTHOME", "TMHOME", "CMT_P2P_LADDR", "CMTX"} & set(found)
    assert found["TZ"] == "UTC"


def test_an_application_is_supervised_before_its_engine(tmp_path):
    prepared = prepare(tmp_path)
    first, second = prepared.programs(["python", "x"])

    assert (first.name, first.command, first.ready) == (
        "application",
        ("python", "x"),
        prepared.socket,
    )
    assert second.command == ("/nowhere/cometbft", "start", "--home", str(prepared.home))
    assert second.log == tmp_path / "cometbft.log"


@pytest.fixture
def engines(tmp_path):
    """Four supervised CometBFTs with the application that is built in, and their addresses."""
    try:
        find_binary()
    except UnavailableError as error:
        pytest.skip(str(error))
    planned = plan_settings(NAMES, {}, 21_650, GENESIS)
    prepared, processes = {}, {}
    for name in NAMES:
        settings = replace(planned[name], heartbeat_milliseconds=300, commit_milliseconds=50)
        ready = prepare_engine(tmp_path / name, settings)
        write_engine(ready, GENESIS, settings, SECRETS[name], SECRETS[name], moniker=name)
        config = ready.home / "config/config.toml"
        text = config.read_text().replace(f"unix://{ready.socket}", "kvstore")
        # The built-in application says nothing of peers.
        config.write_text(text.replace("filter_peers = true", "filter_peers = false"))
        prepared[name] = ready
        processes[name] = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(tmp_path / name), *ready.command],
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
    yield prepared, processes
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        process.wait(timeout=40)


def status_of(prepared):
    answer = httpx.get(f"{prepared.rpc_url}/status", timeout=5).json()
    return answer["result"]


def wait_for_height(prepared, height):
    """Return each engine's status once all are so far; they have a long time for it."""
    deadline, found = time.monotonic() + 60, {}
    while len(found) < len(prepared):
        assert time.monotonic() < deadline, found
        for name, each in prepared.items():
            with suppress(httpx.TransportError, KeyError):
                status = status_of(each)
                if int(status["sync_info"]["latest_block_height"]) >= height:
                    found[name] = status
        time.sleep(0.1)
    return found


@pytest.mark.network
def test_four_engines_make_blocks_and_one_that_is_killed_catches_up(engines, tmp_path):
    prepared, processes = engines
    for name, status in wait_for_height(prepared, 3).items():
        assert status["node_info"]["network"] == engine_chain_id(GENESIS)
        assert status["node_info"]["id"] == node_id(keys.public_of(SECRETS[name]))
        assert status["validator_info"]["voting_power"] == "10"
        assert status["validator_info"]["address"].lower() == status["node_info"]["id"]
    first = process_states(tmp_path / "west")["cometbft"].pid
    os.kill(first, signal.SIGKILL)
    others = {name: each for name, each in prepared.items() if name != "west"}
    height = int(status_of(prepared["east"])["sync_info"]["latest_block_height"])
    wait_for_height(others, height + 3)
    wait_for_height(prepared, height + 5)
    again = process_states(tmp_path / "west")["cometbft"]

    assert (again.restarts, again.pid != first) == (1, True)
    assert httpx.get(f"http://127.0.0.1:{prepared['west'].metrics_port}/metrics").status_code == 200
    for process in processes.values():
        process.terminate()
    assert [process.wait(timeout=40) for process in processes.values()] == [0] * 4
    assert not started_at(again.pid)
