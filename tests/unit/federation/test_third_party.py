"""A rule that somebody else wrote: found by its entry point, pinned by its source."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import tallystick as ts
from tallystick.ledger.collect import recipe
from tallystick.mechanisms import registry

SOURCE = '''
"""Refuse whoever comes first in the list."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import msgspec
from tallystick.mechanisms.records import Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

@register
@dataclass(frozen=True, slots=True)
class DecideButFirst:
    id: ClassVar[str] = "decide/but-first/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()
    reason: int = 990

    def fold(self, records, inputs):
        first, *rest = inputs.subjects
        return Output((msgspec.structs.replace(first, verdict=self.reason), *rest))

    @classmethod
    def examples(cls):
        return [cls()]
'''


class Site:
    def __init__(self, step: float) -> None:
        self.step = step

    def train(self, parameters, config):
        return {"w": parameters["w"] + np.float32(self.step)}, 1

    def evaluate(self, parameters, config):
        return {"accuracy": 0.5}, 1


@pytest.fixture
def theirs(tmp_path):
    path = tmp_path / "their_rule.py"
    path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("their_rule", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["their_rule"] = module
    spec.loader.exec_module(module)
    yield path
    del sys.modules["their_rule"]
    registry._RULES.pop("decide/but-first/1", None)


def simulate(out: Path) -> ts.Run:
    task = ts.Task(
        name="theirs", rounds=2, stage={"decide": {"rule": "decide/but-first/1", "of": "peers"}}
    )
    sites = {name: Site(0.1 * number) for number, name in enumerate(("a", "b", "c", "d"), 1)}
    return ts.simulate(task, sites, initial={"w": np.zeros(3, np.float32)}, out=out, durable=False)


def test_terms_pin_the_digest_of_a_third_partys_rule(theirs, tmp_path):
    run = simulate(tmp_path / "run")

    assert [pin.rule for pin in run.terms.pins] == ["decide/but-first/1"]
    assert run.terms.pins[0].digest == registry.rule_digest("decide/but-first/1")
    assert [refusal.code for refusal in run.refusals] == [990, 990]
    assert ts.verify(run.bundle, run.genesis, replay=True).ok


def test_verification_names_a_rule_that_is_not_installed(theirs, tmp_path):
    run = simulate(tmp_path / "run")
    registry._RULES.pop("decide/but-first/1")
    recipe._compiled.cache_clear()

    with pytest.raises(ts.ConfigError, match="'decide/but-first/1'"):
        ts.verify(run.bundle, run.genesis)


def test_another_source_under_the_same_id_is_noticed(theirs, tmp_path):
    run = simulate(tmp_path / "run")
    theirs.write_text(SOURCE + "# one comment more\n", encoding="utf-8")
    assert ts.verify(run.bundle, run.genesis).ok  # what was imported is what runs
    registry._source_digest.cache_clear()

    with pytest.raises(ts.ConfigError, match="not the one the terms pin"):
        ts.verify(run.bundle, run.genesis)
