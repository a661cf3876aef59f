from __future__ import annotations

import logging
import time

from tallystick.node.clock import Clock


def wall():
    return time.time_ns() // 1_000_000


def test_it_goes_on_as_the_machine_had_it_whatever_the_machine_says_then(monkeypatch):
    clock = Clock()
    before = wall()
    monkeypatch.setattr(time, "time_ns", lambda: 5)

    assert before - 50 <= clock.now() <= before + 5_000


def test_it_is_never_behind_the_newest_block_and_says_so(caplog):
    least = wall() + 3_600_000
    with caplog.at_level(logging.ERROR):
        clock = Clock(least)
    first = clock.now()
    time.sleep(0.02)

    assert least <= first < clock.now() <= least + 5_000
    assert "3600 seconds behind" in caplog.text or "3599 seconds behind" in caplog.text
