"""A task's terms, as verbs show them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tallystick.cli.output import plain, say

if TYPE_CHECKING:
    from tallystick.federation.privacy import Promise
    from tallystick.ledger.terms import Stage, Terms

__all__ = ["tell_terms", "terms_facts"]


def terms_facts(terms: Terms) -> dict[str, Any]:
    """Return terms as documents hold them: name, hash, all of them, and what privacy costs."""
    from tallystick.federation.privacy import promises
    from tallystick.ledger.terms import task_id

    spent = [asdict(promise) for promise in promises(terms)]
    found = task_id(terms).hex()
    return {"hash": found, "name": terms.name, "terms": plain(terms), "privacy": spent}


def tell_terms(terms: Terms) -> None:
    """Print terms for people, all but their hash."""
    from tallystick.federation.privacy import promises

    say(f"name     {terms.name}")
    say(f"recipe   {terms.recipe}, {terms.mode}, {terms.rounds} rounds, keep {terms.keep}")
    say(f"score    {terms.score}; weights {terms.weights[0]}")
    for roster in terms.rosters:
        say(f"roster   {roster.name}: {', '.join(roster.members)}")
    if terms.model is not None:
        size = sum(parameter.size for parameter in terms.model.parameters)
        say(f"model    {size} parameters in {len(terms.model.parameters)} tensors")
    if terms.train:
        settings = ", ".join(f"{each.name} = {_setting(each)}" for each in terms.train)
        say(f"train    {settings}")
    for phase, stages in (("setup", terms.setup), ("round", terms.round), ("close", terms.close)):
        for stage in stages:
            say(f"{phase:<8} {_stage(stage)}")
    for promise in promises(terms):
        say(f"privacy  {_promise(promise)}")


def _promise(promise: Promise) -> str:
    from tallystick.provenance.statement import privacy

    facts = [f"{name} = {value}" for name, value in promise.parameters.items()]
    spent = privacy(promise.epsilon_nanos, promise.delta_picos)
    return f"{promise.stage}: {promise.charges} charges come to {spent}; {', '.join(facts)}"


def _setting(setting: Any) -> str:  # noqa: ANN401 - one of the terms' settings
    return str(float.fromhex(setting.text)) if setting.kind == "float" else setting.text


def _stage(stage: Stage) -> str:
    windows = [
        f"{name} {length / 1000:g}s"
        for name, length in (
            ("within", stage.within),
            ("reveal", stage.reveal),
            ("hold", stage.hold),
        )
        if length
    ]
    facts = [f"{name} = {value}" for name, value in stage.parameters if name != "table"]
    asked = [f"asks {stage.who}"] if stage.who else []
    sealed = ["sealed"] if stage.sealed else []
    return f"{stage.name}: {', '.join([stage.rule, *asked, *sealed, *windows, *facts])}"
