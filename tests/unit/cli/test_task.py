"""`tally task`: what `new` writes `check` accepts and `run` runs; what is wrong has a line."""

import pytest
from support.commands import write_task

from tallystick.federation.recipes import recipe_names


@pytest.mark.parametrize("recipe", recipe_names())
def test_what_new_writes_is_accepted_and_comes_to_the_recipe_itself(tally, tmp_path, recipe):
    path = tmp_path / "task.toml"
    assert tally("task", "new", recipe, "--out", path).status == 0
    text = path.read_text(encoding="utf-8")
    spelled = tally("task", "check", path, "--json").document
    head, _, rest = text.partition("\n[stage")
    path.write_text(head + rest[rest.index("\n[train]") :], encoding="utf-8")
    brief = tally("task", "check", path, "--json").document

    assert spelled["ok"]
    assert spelled["hash"] == brief["hash"]
    assert text.count("#") > 20
    assert "within" in text


def test_new_prints_what_it_would_write(tally, tmp_path):
    path = tmp_path / "task.toml"
    written = tally("task", "new", "bflc", "--out", path, "--json").document

    assert written["file"] == str(path)
    assert written["text"] == path.read_text(encoding="utf-8")
    assert tally("task", "new", "bflc").out == written["text"]


def test_new_overwrites_nothing(tally, tmp_path):
    path = tmp_path / "task.toml"
    path.write_text("mine")

    assert tally("task", "new", "bflc", "--out", path).status == 2
    assert path.read_text() == "mine"


def test_what_new_writes_runs_as_it_is(tally, tmp_path):
    path = tmp_path / "task.toml"
    tally("task", "new", "standard", "--out", path)
    ran = tally("run", path, "--rounds", 1, "--json")

    assert ran.status == 0
    assert ran.document["data"] == "breast_cancer"


def test_check_prints_terms_and_hash_for_people(tally, tmp_path):
    ran = tally("task", "check", write_task(tmp_path))

    assert ran.status == 0
    assert "aggregate/mean/1" in ran.out
    assert ran.out.splitlines()[-1].startswith("hash ")


def test_the_hash_is_that_of_the_run(tally, tmp_path):
    task = write_task(tmp_path)
    found = tally("task", "check", task, "--json").document["hash"]
    tally("run", task)

    assert found in (tmp_path / "tally-tiny" / "run.json").read_text()


WRONG = [
    ('nam = "x"', "nam", 1),
    ('name = "X y"', "X y", 1),
    ('name = "x"\nrecipe = "nope"', "nope", 2),
    ('name = "x"\nrounds = 0', "rounds", 2),
    ('name = "x"\nrounds = "ten"', "rounds", 2),
    ('name = "x"\n\n[stage.nope]\nwithin = "1m"', "nope", 3),
    ('name = "x"\n\n[stage.update]\nwithin = "soon"', "within", 4),
    ('name = "x"\n\n[stage.peers]\nnope = 3', "nope", 4),
    ('name = "x"\n\n[simulate]\nnope = 1', "nope", 4),
    ('name = "x"\n\n[simulate]\nmembers = 0', "members", 4),
    ('name = "x"\n\n[simulate]\nmembers = ["a", "a"]', "members", 4),
    ('name = "x"\n\n[simulate]\nseed = -1', "seed", 4),
    ('name = "x"\n\n[simulate]\ndata = "nope.csv"', "nope.csv", 4),
    ('name = "x"\n\n[simulate]\npartition = "odd"', "odd", 4),
    ('name = "x"\n\n[simulate]\nattacks = "sign-flip=1"', "attacks", 4),
    ('name = "x"\n\n[simulate]\nattacks = ["nope=1"]', "nope", 4),
    ('name = "x"\n\n[simulate]\ntrainer = "nope"', "nope", 4),
    ('name = "x"\n\n[simulate]\ntrainer = "nope:Nope"', "nope:Nope", 4),
    ('name = "x"\n\n[simulate]\ntrainer = "os:name"', "os:name", 4),
    ('name = "x"\n\n[simulate]\nsites = {}', "sites", 4),
    ('name = "x"\n\n[simulate]\ntrainer = "own_site:Site"\ndata = "wine"', "data", 5),
    (
        'name = "x"\n\n[simulate]\ntrainer = "own_site:Site"\nmembers = ["a"]\nsites = {b = {}}',
        "b",
        0,
    ),
    (
        'name = "x"\n\n[simulate]\ntrainer = "own_site:Site"\nattacks = ["label-flip=1"]',
        "label-flip",
        5,
    ),
    ('name = "x"\n\n[train]\nlr = nan', "lr", 4),
    ('name = "x"\n\n[train]\nlr = -1.0', "lr", 4),
    ('name = "x"\n\n[train]\nseed = 3', "seed", 4),
    ('name = "x"\n\n[simulate]\nattacks = ["none=0", "sign-flip=1"]', "none=0", 4),
    ('name = "x"\n\n[simulate]\ndata = "wine"\ntarget = "y"', "'y'", 4),
    ('name = "x"\nrounds = = 3', "line 2", 0),
]


@pytest.mark.parametrize(("text", "named", "line"), WRONG, ids=[row[0][-40:] for row in WRONG])
def test_what_is_wrong_is_named_with_its_line(tally, tmp_path, text, named, line):
    path = write_task(tmp_path)
    path.write_text(text, encoding="utf-8")
    for arguments in (("task", "check", path), ("run", path, "--out", tmp_path / "out")):
        ran = tally(*arguments, "--json")

        assert ran.status == 2
        assert str(path) in ran.error["message"]
        assert named in ran.error["message"]
        assert not line or f"line {line}:" in ran.error["message"]
    assert not (tmp_path / "out" / "ledger.db").exists()


PRIVATE = """
name = "private"
rounds = 60
setup = ["data"]
round = ["trainers", "update", "aggregate"]

[privacy]
epsilon = 8.0
delta = 1e-4
clip = 0.5

[stage]
data = {rule = "join/dataset/1", who = "members", short = "abort"}
trainers = {rule = "select/all/1", from = "data"}
update = {rule = "submit/private-update/1", data = "data", who = "trainers", sealed = true}
aggregate = {rule = "aggregate/mean/1", of = "update", who = "members"}
"""


def test_check_tells_what_the_terms_spend(tally, tmp_path):
    path = tmp_path / "private.toml"
    path.write_text(PRIVATE, encoding="utf-8")
    ran = tally("task", "check", path)
    (promise,) = tally("task", "check", path, "--json").document["privacy"]

    assert "privacy  update: 60 charges come to epsilon 7.99" in ran.out
    assert (
        "at delta 0.0001; clipping_norm_micros = 500000, noise_multiplier_millis = 4507" in ran.out
    )
    assert "budget   epsilon 8.0000 at delta 0.0001 for each member's data set" in ran.out
    assert "adjacency = zero-out" in ran.out
    assert promise["charges"] == 60
    assert promise["epsilon_nanos"] <= 8 * 10**9


def test_a_mistake_in_privacy_has_a_line(tally, tmp_path):
    path = tmp_path / "private.toml"
    path.write_text(PRIVATE.replace("delta = 1e-4", "delta = 7"), encoding="utf-8")
    ran = tally("task", "check", path)

    assert ran.status == 2
    assert "line 9" in ran.err
    assert "'delta' in [privacy] is 7" in ran.err
