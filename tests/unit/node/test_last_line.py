"""Why a program ended, from its log."""

import pytest

from tallystick.node.program import _last_line

GO = b"""I[2026] started
panic: Failed to process committed block (1): wrong app hash

goroutine 1 [running]:
main.go:52 +0x21f
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GO, "panic: Failed to process committed block (1): wrong app hash"),
        (b"one\n\ntwo \n", "two"),
        (b"ERROR: no such file\nusage:\n  cometbft start\n", "ERROR: no such file"),
        (b"", ""),
    ],
)
def test_it_is_said_by_the_panic_and_else_by_the_last_line(tmp_path, text, said):
    (tmp_path / "log").write_bytes(text)

    assert _last_line(tmp_path / "log") == said


def test_where_there_is_no_log_nothing_is_said(tmp_path):
    assert _last_line(tmp_path / "log") == ""
    assert _last_line(None) == ""
