"""A node's settings: what is written is read back, and what is wrong has a line."""

from dataclasses import fields

import pytest

from tallystick.errors import ConfigError
from tallystick.federation.settings import COMETBFT, NodeSettings

OTHER = NodeSettings(
    host="::",
    port=1,
    public_url="https://north.example",
    certificate='/etc/"tls"/cert.pem',
    certificate_key="/etc/tls/key.pem",
    encrypt=True,
    quota_bytes=5,
    batch_milliseconds=7,
    requests_per_second=9,
    connections=3,
    pending=4,
)
MET = NodeSettings(
    p2p_host="::1",
    p2p_port=1,
    engine_port=2,
    commit_milliseconds=3,
    heartbeat_milliseconds=400,
    peers=(f"{'0a' * 20}@[::1]:7", f"{'1b' * 20}@north.example:8"),
    nodes=("https://north.example", "http://[::1]:9"),
)


@pytest.mark.parametrize("settings", [NodeSettings(), OTHER, MET])
def test_what_is_written_is_read_back(tmp_path, settings):
    path = tmp_path / "node.toml"
    path.write_text(settings.to_toml(), encoding="utf-8")

    assert NodeSettings.load(path) == settings
    left_out = len(COMETBFT) if settings is not MET else 0
    assert settings.to_toml().count("\n# ") == len(fields(settings)) - left_out


def test_a_node_that_asks_no_others_has_no_keys_for_them():
    assert not [key for key in COMETBFT if f"\n{key} =" in OTHER.to_toml()]
    assert all(f"\n{key} =" in MET.to_toml() for key in COMETBFT)


def test_every_key_has_a_default(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text("connections = 3\n", encoding="utf-8")

    assert NodeSettings.load(path).connections == 3


@pytest.mark.parametrize(
    ("text", "named", "line"),
    [
        ("\nprot = 3", "unknown key 'prot'", 2),
        ("host = 3", "'host' is not text", 1),
        ("host = ''", "'host' is empty", 1),
        ("\n\nport = '1'", "'port' is not a whole number", 3),
        ("port = true", "'port' is not a whole number", 1),
        ("port = 65536", "'port' is 65536", 1),
        ("port = -1", "'port'", 1),
        ("encrypt = 1", "'encrypt' is not true or false", 1),
        ("batch_milliseconds = 2.5", "'batch_milliseconds' is not a whole number", 1),
        ("heartbeat_seconds = 5.0", "unknown key 'heartbeat_seconds'", 1),
        ("connections = 0", "'connections'", 1),
        ("p2p_host = ''", "'p2p_host' is empty", 1),
        ("p2p_port = 0", "'p2p_port' is 0", 1),
        ("engine_port = 70000", "'engine_port'", 1),
        ("heartbeat_milliseconds = 0", "'heartbeat_milliseconds'", 1),
        ("peers = 'x'", "'peers' is not a list of texts", 1),
        ("peers = [1]", "'peers' is not a list of texts", 1),
        ("peers = ['x@y:1']", "'x@y:1', which is not ID@HOST:PORT", 1),
        (f"peers = ['{'0' * 40}@a:1,b:2']", "which is not ID@HOST:PORT", 1),
        ("nodes = ['north']", "'north', which is not http://HOST:PORT", 1),
        ("[host]\nx = 1", "'host' is not text", 0),
        ("certificate = 'x'", "belong together", 1),
        ("host = = 1", "line 1", 0),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, named, line):
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=named) as caught:
        NodeSettings.load(path)

    assert str(path) in str(caught.value)
    assert not line or f"line {line}:" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"node\.toml"):
        NodeSettings.load(tmp_path / "node.toml")


@pytest.mark.parametrize("ports", [{"p2p_port": 26651}, {"engine_port": 26651}, {"engine_port": 7}])
def test_two_ports_that_are_the_same_are_refused(ports):
    with pytest.raises(ConfigError, match="each of a node's ports is another one"):
        NodeSettings(port=26651, **{"p2p_port": 7, **ports})
