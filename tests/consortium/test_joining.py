"""A newcomer between real nodes that was given a snapshot with a false header."""

from __future__ import annotations

import pytest
from support.commands import execute
from support.consortia import NAMES, odd, status_of, until

from tallystick.lab.consortium import Consortium

pytestmark = pytest.mark.network

NEWCOMER = "centre"


def test_a_newcomer_with_a_false_header_puts_it_right_by_itself(tmp_path):
    with Consortium(
        tmp_path, NAMES, 13, snapshot_blocks=4, heartbeat_milliseconds=500
    ) as consortium:
        card = consortium.add(NEWCOMER)
        for name in NAMES[:3]:
            execute("member", "propose", consortium.url(name), "--key", consortium.home(name),
                    "--admit", card)  # fmt: skip
        until(lambda: status_of(consortium, NAMES[0])["snapshot"] >= 4, what="a snapshot")
        consortium.programs[NEWCOMER] = odd("false-header")
        consortium.start(NEWCOMER)
        until(
            lambda: status_of(consortium, NEWCOMER).get("catching_up") is False, 120, "catching up"
        )
        log = (consortium.node(NEWCOMER) / "log").read_text()
        engine = consortium.engine(NEWCOMER)
        shown = [block.header for block in engine.blocks(1)]
        engine.close()
        engine = consortium.engine(NAMES[0])
        others = [block.header for block in engine.blocks(1)]
        engine.close()

    both = min(len(shown), len(others))
    assert "taking in the state of height" in log
    assert "is another one than the state this node began with says" in log
    assert shown[:both] == others[:both]
    assert both > 4
