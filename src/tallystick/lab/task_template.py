"""A complete, commented task file for a recipe: every stage and window spelled out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError
from tallystick.federation.recipes import load_recipe, recipe_text
from tallystick.federation.task_text import toml_key, toml_value
from tallystick.lab.simulate_table import DATA, MEMBERS
from tallystick.lab.table_trainer import DEFAULTS
from tallystick.mechanisms.registry import rule_class
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallystick.federation.recipes import Recipe
    from tallystick.ledger.terms import Stage

__all__ = ["template"]

HEAD = ("keep", "approve_within", "retention", "holders", "read_fee")
TRAIN = {
    "lr": "learning rate",
    "epochs": "passes over a site's own rows",
    "batch": "rows a step",
}
UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"))
SAYS = {
    "within": "how long records (or seals) are taken",
    "reveal": "how long what was sealed may be revealed",
    "hold": "how long holders have to fetch and confirm the bytes",
    "bond": "micro-units at stake; who misses a full window forfeits them",
    "need": 'how many records it takes; "1/2" is more than half of those asked',
    "short": 'if there are too few: "rerun:K" asks again, then "void"; setup can "abort"',
    "privacy": "Epsilon at delta for each data set, over all rounds; clip bounds what a row asks.",
    "sealed": "commit first, reveal later: nobody can copy",
    "seats": '"auto" is an odd quarter of the members',
}


def template(name: str) -> str:
    """Return a task file for a recipe, which `tally task check` accepts and `tally run` runs.

    Raises
    ------
    ConfigError
        There is no such recipe, or it needs rosters that nobody can guess.
    """
    recipe = load_recipe(name)
    if recipe.rosters:
        msg = f"the recipe '{name}' needs the rosters {', '.join(recipe.rosters)}"
        raise ConfigError(msg, hint="write the task file by hand")
    bare = recipe.name.partition("/")[0]
    lines = [
        *_about(name),
        "",
        *_head(recipe, bare),
        *_stages(recipe),
        *_train(recipe),
        *_simulate(),
    ]
    return "\n".join(lines) + "\n"


def _about(name: str) -> Iterator[str]:
    for line in recipe_text(name).splitlines():
        if not line.startswith("#"):
            break
        yield line


def _head(recipe: Recipe, bare: str) -> Iterator[str]:
    options = recipe.options
    yield "# Unique on its ledger: lower-case letters, digits, '.', '_' and '-'."
    yield f'name = "my-{bare}"'
    yield f"recipe = {toml_value(recipe.name)}"
    yield "# Attempts, void rounds included."
    yield "rounds = 10"
    yield "# The metric of the trainers' evaluate() that stages go by: 0 to 1, larger is better."
    yield 'score = "accuracy"'
    yield '# Which model is the result: "last", or "best" where scores are reported.'
    yield f"keep = {toml_value(options.get('keep', 'last'))}"
    yield '# What an update counts: "equal", "declared" (up to weight_cap) or "committed".'
    yield 'weights = "equal"'
    yield "weight_cap = 1000"
    yield "# How long members have to approve these terms, and holders keep the bytes."
    yield f"approve_within = {toml_value(options.get('approve_within', '10m'))}"
    yield f"retention = {toml_value(options.get('retention', '365d'))}"
    yield "# The roster that keeps the bytes."
    yield f"holders = {toml_value(options.get('holders', 'members'))}"
    yield "# Micro-units for reading the models; 0 leaves access to the members."
    yield f"read_fee = {toml_value(options.get('read_fee', 0))}"
    for key in sorted(set(options) - {*HEAD, "train"}):
        if key in SAYS:
            yield f"# {SAYS[key]}"
        yield f"{key} = {toml_value(options[key])}"
    for phase, stages in recipe.lists.items():
        if stages:
            yield f"# {_says_phase(phase)}"
            yield f"# {phase}: {', '.join(stages)}"


def _says_phase(phase: str) -> str:
    return {
        "setup": "Once, after everybody has approved:",
        "round": "In every round, in this order:",
        "close": "Once, at the end, before everybody signs the result:",
    }[phase]


def _stages(recipe: Recipe) -> Iterator[str]:
    for phase, names in recipe.lists.items():
        resolved = {stage.name: stage for stage in recipe.stages(phase, MEMBERS)}
        for name in names:
            table = recipe.tables[name]
            yield ""
            yield f"# {_first_line(str(table['rule']))}"
            yield f"[stage.{toml_key(name)}]"
            for key, value in _spelled(table, resolved[name]).items():
                remark = f"  # {SAYS[key]}" if key in SAYS else ""
                yield f"{toml_key(key)} = {toml_value(value)}{remark}"


def _spelled(table: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """Return a stage's table with its windows written out."""
    windows: dict[str, Any] = {
        key: _duration(length)
        for key in ("within", "reveal", "hold")
        if (length := getattr(stage, key))
    }
    if stage.within:  # somebody is asked
        count, share = stage.need.count, stage.need.share
        if rule_class(stage.rule).place is not Place.ATTESTED:  # that takes two thirds, always
            windows["need"] = f"{count}/{share}" if share else count
        windows["short"] = _short(stage)
    return {**table, **{key: value for key, value in windows.items() if key not in table}}


def _short(stage: Stage) -> str:
    return f"rerun:{stage.short.reruns}" if stage.short.reruns else stage.short.then


def _duration(milliseconds: int) -> str:
    for length, unit in UNITS:
        if milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms"


def _first_line(rule: str) -> str:
    text = inspect.getdoc(rule_class(rule)) or rule
    return text.splitlines()[0].replace("``", "")


def _train(recipe: Recipe) -> Iterator[str]:
    yield ""
    yield "# What trainers find in config, besides round, seed and member."
    yield "[train]"
    for key, value in {**DEFAULTS, **recipe.train}.items():
        yield f"{key} = {toml_value(value)}  # {TRAIN.get(key, 'see the trainer')}"


def _simulate() -> Iterator[str]:
    yield ""
    yield "# Who plays the members when `tally run` simulates this; no part of the terms."
    yield "[simulate]"
    yield f"members = {MEMBERS}  # or a list of names"
    yield f"data = {toml_value(DATA)}  # or a CSV file beside this one, with target = its column"
    yield 'partition = "iid"  # or "dirichlet:0.5"'
    yield 'attacks = []  # such as ["sign-flip:4=2"]: two members send the opposite of their update'
    yield "seed = 0"
    yield '# trainer = "hospital:Hospital"  # your own class instead of data, target and partition'
