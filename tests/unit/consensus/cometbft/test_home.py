"""CometBFT's folder: the chain's beginning, private keys, and what is never overwritten."""

import base64
import json
import stat
import tomllib

import pytest
from msgspec import structs

from tallystick.consensus.cometbft.home import (
    genesis_document,
    most_block_bytes,
    node_id,
    write_home,
)
from tallystick.consensus.cometbft.settings import EngineSettings, StateSync, config_text
from tallystick.consensus.cometbft.validators import founding_validators
from tallystick.crypto import keys
from tallystick.errors import ConfigError
from tallystick.federation.trial import secret_of, simulated_genesis
from tallystick.ledger.genesis import Limits, engine_chain_id, genesis_hash

NAMES = ("east", "north", "south")
GENESIS = structs.replace(simulated_genesis("heart", NAMES, 0), engine="cometbft", time=1_234)
SECRET, OTHER = secret_of(0, "north", "validator"), secret_of(1, "north", "validator")
SETTINGS = EngineSettings(application="/run/app.sock", rpc_port=1, p2p_port=2)


def write(folder, secret=SECRET, settings=SETTINGS):
    write_home(folder, GENESIS, settings, secret, SECRET)
    return folder


def test_the_beginning_is_made_of_the_genesis_alone():
    document = genesis_document(GENESIS)

    assert document["chain_id"] == engine_chain_id(GENESIS)
    assert document["genesis_time"] == "1970-01-01T00:00:01.234Z"
    assert document["app_state"] == {"genesis": genesis_hash(GENESIS).hex()}
    for founder, validator in zip(GENESIS.founders, document["validators"], strict=True):
        public = next(key.public for key in founder.keys if key.role == "validator")
        assert base64.b64decode(validator["pub_key"]["value"]) == public
        assert (validator["name"], validator["power"]) == (founder.id, "10")
        assert validator["address"].lower() == node_id(public)


def test_a_founder_without_a_validator_key_does_not_validate():
    first = structs.replace(GENESIS.founders[0], keys=GENESIS.founders[0].keys[:1])
    changed = structs.replace(GENESIS, founders=(first, *GENESIS.founders[1:]))
    named = [each["name"] for each in genesis_document(changed)["validators"]]

    assert named == [founder.id for founder in GENESIS.founders[1:]]
    assert len(named) == len(founding_validators(changed))


def test_a_time_beyond_the_calendar_is_refused():
    with pytest.raises(ConfigError, match="calendar"):
        genesis_document(structs.replace(GENESIS, time=2**62))


@pytest.mark.parametrize("validators", [1, 4, 4096])
@pytest.mark.parametrize(
    ("block_bytes", "transaction_bytes"),
    [(1024, 64), (2 * 1024**2, 64), (2 * 1024**2, 128), (64 * 1024**2, 64 * 1024)],
)
def test_a_full_block_of_ours_fits_whatever_else_is_in_it(
    block_bytes, transaction_bytes, validators
):
    commit = 94 + 144 * validators
    room = most_block_bytes(block_bytes) - 11 - 626 - commit - (1 << 20)
    length = 1 + (transaction_bytes >= 1 << 7) + (transaction_bytes >= 1 << 14)

    assert room >= block_bytes // transaction_bytes * (transaction_bytes + 1 + length)


def test_blocks_larger_than_the_engine_allows_are_refused():
    huge = structs.replace(GENESIS, limits=Limits(block_bytes=1 << 30))
    with pytest.raises(ConfigError, match="larger than CometBFT allows"):
        genesis_document(huge)


def test_secrets_are_private_and_those_given(tmp_path):
    home = write(tmp_path / "cometbft", OTHER)
    signer = json.loads((home / "config/priv_validator_key.json").read_text())
    known = json.loads((home / "config/node_key.json").read_text())

    assert base64.b64decode(signer["priv_key"]["value"]) == keys.keypair_of(OTHER)
    assert signer["address"].lower() == node_id(keys.public_of(OTHER))
    assert base64.b64decode(known["priv_key"]["value"]) == keys.keypair_of(SECRET)
    for path in home.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_what_was_signed_last_is_never_overwritten(tmp_path):
    home = write(tmp_path / "cometbft")
    signed = home / "data/priv_validator_state.json"
    assert json.loads(signed.read_text()) == {"height": "0", "round": 0, "step": 0}
    signed.write_text('{"height": "7", "round": 0, "step": 3}')
    write(home, OTHER)

    assert json.loads(signed.read_text())["height"] == "7"


def test_blocks_without_a_note_of_what_was_signed_are_refused(tmp_path):
    home = write(tmp_path / "cometbft")
    (home / "data/blockstore.db").mkdir()
    (home / "data/priv_validator_state.json").unlink()
    with pytest.raises(ConfigError, match="two blocks of one height"):
        write(home)

    assert not (home / "data/priv_validator_state.json").exists()


def test_settings_are_written_again(tmp_path):
    home = write(tmp_path / "cometbft")
    changed = EngineSettings(application="kvstore", rpc_port=9, p2p_port=2)
    write(home, settings=changed)

    assert (home / "config/config.toml").read_text() == config_text(changed)


def test_the_configuration_says_what_was_set(tmp_path):
    sync = StateSync(("http://a", "http://b"), 5, b"\xab" * 32, 60, tmp_path / "x y", 7)
    settings = EngineSettings(
        application="/run/a b.sock",
        rpc_port=3,
        p2p_port=4,
        p2p_host="::1",
        peers=("aa@h:1", "bb@h:2"),
        moniker='no"rth',
        metrics_port=5,
        commit_milliseconds=6,
        heartbeat_milliseconds=7,
        filter_peers=True,
        state_sync=sync,
    )
    found = tomllib.loads(config_text(settings))

    assert found["proxy_app"] == "unix:///run/a b.sock"
    assert (found["moniker"], found["filter_peers"]) == ('no"rth', True)
    assert found["rpc"]["laddr"] == "tcp://127.0.0.1:3"
    assert found["p2p"]["laddr"] == "tcp://[::1]:4"
    assert found["p2p"]["persistent_peers"] == "aa@h:1,bb@h:2"
    assert found["p2p"]["unconditional_peer_ids"] == "aa,bb"
    assert found["consensus"]["timeout_commit"] == "6ms"
    assert found["consensus"]["create_empty_blocks_interval"] == "7ms"
    assert found["consensus"]["peer_gossip_sleep_duration"] == "20ms"
    assert found["instrumentation"]["prometheus_listen_addr"] == "127.0.0.1:5"
    assert found["statesync"] == {
        "enable": True,
        "rpc_servers": "http://a,http://b",
        "trust_height": 5,
        "trust_hash": "ab" * 32,
        "trust_period": "60s",
        "discovery_time": "7s",
        "temp_dir": str(tmp_path / "x y"),
    }


def test_nothing_that_is_off_is_on():
    found = tomllib.loads(config_text(SETTINGS))

    assert found["statesync"] == {"enable": False}
    assert found["instrumentation"]["prometheus"] is False
    assert found["p2p"]["pex"] is False
