"""Sweeps: a cell is the run a demo makes, what is finished stays, and tables say what they mean."""

import csv
import json
import sys
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import replace

import pytest

from tallystick.errors import ConfigError, MissingExtraError
from tallystick.lab.attacks.registry import all_attacks
from tallystick.lab.decisions import read_decisions
from tallystick.lab.demos.options import silent
from tallystick.lab.sweep import SweepFolder, plan_sweep, run_sweep, summarise
from tallystick.lab.sweep.catalogue import catalogue, known_by_author
from tallystick.lab.sweep.cell import play, run_cell
from tallystick.lab.sweep.plots import plot_names, write_plots
from tallystick.lab.sweep.run import check_sweep
from tallystick.lab.sweep.summary import Spread
from tallystick.lab.sweep.tables import line_document

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

HEADER = [
    "recipe",
    "attack",
    "data",
    "partition",
    "seed",
    "round",
    "accuracy",
    "attack_success",
    "accepted_honest",
    "refused_honest",
    "accepted_malicious",
    "refused_malicious",
]


def planned(recipes=("chain-fl", "standard"), attacks=("sign-flip:4=2", "none=0"), **more):
    settings = {"members": 5, "rounds": 2, "seeds": 2, **more}
    return plan_sweep(recipes, attacks, ["wine"], ["iid"], **settings)


class Counting(Executor):
    """Computes at once and remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def submit(self, fn, /, *args, **kwargs):
        self.asked.append(args[0])
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def swept(sweep, out):
    """Run a sweep in this process; return what was computed."""
    counting = Counting()
    run_sweep(sweep, out, nullcontext(counting), silent)
    return counting.asked


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweeps") / "sweep"
    return swept(planned(), out), out


# --- cells


@pytest.mark.parametrize("recipe", ["standard", "bflc", "chain-fl"])
def test_a_cell_is_the_run_that_a_demo_makes_block_for_block(recipe, tmp_path):
    (cell,) = planned([recipe], ["sign-flip:4=1"], seeds=1).cells
    world = cell.world()
    run = world.run(tmp_path / "run")
    played = play(world)
    result = run_cell(cell)

    assert played.height == run.height
    assert played.state_root == run.state_root == result["state_root"]
    assert result["rounds"][-1]["accuracy"] == world.measure(run.model)


def test_a_cells_key_depends_on_all_that_describes_it():
    cell = planned(seeds=1).cells[0]
    others = [
        replace(cell, seed=1),
        replace(cell, members=6),
        replace(cell, epochs=3),
        replace(cell, attack="none=0"),
        replace(cell, version="9"),
        replace(cell, data=replace(cell.data, sha256="ab")),
    ]

    assert len({other.key for other in [cell, *others]}) == 1 + len(others)
    assert replace(cell).key == cell.key


def test_a_void_round_keeps_the_model_and_accepts_nothing():
    (cell,) = planned(["chain-fl"], ["absentee=3"], rounds=5, seeds=1).cells
    result = run_cell(cell)

    assert result["status"] == "void"
    assert [row["void"] for row in result["rounds"]] == [True] * 3
    assert {row["accuracy"] for row in result["rounds"]} == {result["start"]}
    assert sum(row["accepted_honest"] for row in result["rounds"]) == 0


def test_updates_are_counted_by_whose_they_are():
    (cell,) = planned(["standard"], ["sign-flip:4=1"], seeds=1, rounds=3).cells
    world = cell.world()
    decisions = read_decisions(play(world).history, frozenset(world.attackers))
    honest, malicious = decisions.of(malicious=False), decisions.of(malicious=True)

    assert (honest.sent, malicious.sent) == (4 * 3, 1 * 3)
    assert malicious.reasons == {"against-the-others": 3}
    assert sum(each.refused_malicious for each in decisions.rounds) == malicious.refused == 3
    assert sum(each.accepted_honest for each in decisions.rounds) == honest.sent - honest.refused
    assert [each.member for each in decisions.members if each.malicious] == ["site-5"]


def test_a_backdoor_is_measured_by_the_rows_it_misleads():
    cell = planned(recipes=["standard"], attacks=["backdoor:5=2"], seeds=1, rounds=1).cells[0]

    (row,) = run_cell(cell)["rounds"]

    assert 0 <= row["attack_success"] <= 1


# --- folders


def test_results_have_one_row_a_cell_and_round_in_canonical_order(finished):
    _, out = finished
    rows = rows_of(out / "results.csv")
    expected = [
        (cell.recipe, cell.attack, "wine", "iid", str(cell.seed), str(number))
        for cell in planned().cells
        for number in (1, 2)
    ]

    assert list(rows[0]) == HEADER
    assert [tuple(row.values())[:6] for row in rows] == expected
    assert {row["attack_success"] for row in rows} == {""}
    for row in rows:
        malicious = 2 if row["attack"].startswith("sign-flip") else 0
        assert int(row["accepted_malicious"]) + int(row["refused_malicious"]) == malicious
        assert int(row["accepted_honest"]) + int(row["refused_honest"]) == 5 - malicious


def test_what_is_finished_is_not_computed_again(finished, tmp_path):
    computed, out = finished
    before = (out / "results.csv").read_bytes()
    lost = computed[3]
    (out / "cells" / f"{lost.key}.json").unlink()

    assert len(computed) == 8
    assert swept(planned(), out) == [lost]
    assert (out / "results.csv").read_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "another cell's", "no object"])
def test_a_cells_file_that_cannot_be_its_own_is_computed_again(finished, damage):
    computed, out = finished
    before = (out / "results.csv").read_bytes()
    file = out / "cells" / f"{computed[0].key}.json"
    other = out / "cells" / f"{computed[1].key}.json"
    text = {
        "truncated": file.read_text()[:100],
        "another cell's": other.read_text(),
        "no object": "[]",
    }
    file.write_text(text[damage])

    assert swept(planned(), out) == [computed[0]]
    assert (out / "results.csv").read_bytes() == before


def test_another_sweep_in_the_same_folder_is_refused(finished):
    _, out = finished
    before = (out / "sweep.json").read_bytes()

    with pytest.raises(ConfigError, match="holds another sweep"):
        SweepFolder.claim(out, planned(rounds=3))
    assert (out / "sweep.json").read_bytes() == before
    assert SweepFolder.open(out).sweep == planned()


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(ConfigError, match="holds something else"):
        SweepFolder.claim(tmp_path, planned())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["{", "[]", '{"sweep": {"recipes": 1}}'])
def test_a_damaged_description_is_named(text, tmp_path):
    (tmp_path / "sweep.json").write_text(text)

    with pytest.raises(ConfigError, match="damaged"):
        SweepFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"attacks": ["sign-flip=9"]}, "9 attackers are planned among 5"),
        ({"members": 250}, "too few for 250 members"),
    ],
)
def test_a_combination_that_cannot_run_is_refused_before_anything_is_written(
    change, says, tmp_path
):
    with pytest.raises(ConfigError, match=says):
        swept(planned(**change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change", [{"members": 1}, {"rounds": 0}, {"seeds": 1001}, {"seed": -1}, {"recipes": ["x"]}]
)
def test_what_does_not_exist_is_no_plan(change):
    with pytest.raises(ConfigError):
        planned(**change)


def test_a_file_that_has_changed_since_is_noticed(tmp_path):
    file = tmp_path / "patients.csv"
    lines = [f"{row},{row % 7},{'ab'[row % 2]}" for row in range(40)]
    file.write_text("\n".join(["x,y,outcome", *lines]))
    settings = {"target": "outcome", "members": 4, "rounds": 1, "seeds": 1}
    (cell,) = plan_sweep(["chain-fl"], ["none=0"], [str(file)], [], **settings).cells
    before = run_cell(cell)
    file.write_text("\n".join(["x,y,outcome", *reversed(lines)]))

    assert before["status"] == "done"
    with pytest.raises(ConfigError, match="not the file that the sweep was planned with"):
        run_cell(cell)


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.csv").write_text("x,y\n1,2\n")
    files = [str(tmp_path / folder / "rows.csv") for folder in "ab"]

    with pytest.raises(ConfigError, match="same name"):
        plan_sweep([], [], files, [], target="y")


def test_plots_need_matplotlib_and_say_so_first(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(MissingExtraError, match="extra 'demo'"):
        check_sweep(planned())


# --- summaries


def result_of(seed, accuracies, *, members=(), attack="none=0", success=None):
    """Return a cell's result with what a summary looks at."""
    sides = {
        side: {
            "updates": sum(sent for _, bad, sent, _ in members if bad == malicious),
            "refused": sum(no for _, bad, _, no in members if bad == malicious),
            "reasons": {"norm": sum(no for _, bad, _, no in members if bad == malicious)},
        }
        for side, malicious in (("honest", False), ("malicious", True))
    }
    listed = [
        {"member": name, "malicious": bad, "updates": sent, "refused": no}
        for name, bad, sent, no in members
    ]
    return {
        "cell": {
            "recipe": "own",
            "attack": attack,
            "data": {"name": "wine"},
            "partition": "iid",
            "seed": seed,
        },
        "start": 0.1,
        "rounds": [
            {"accuracy": value, "attack_success": success, "void": value == 0.1}
            for value in accuracies
        ],
        "decisions": {**sides, "members": listed},
    }


def test_a_line_has_mean_worst_and_spread_of_the_last_round():
    (line,) = summarise([result_of(0, [0.2, 0.9]), result_of(1, [0.3, 0.5]), result_of(2, [])])

    assert line.accuracy == Spread(pytest.approx(0.5), 0.1, 0.9)
    assert line.accuracy.width == pytest.approx(0.8)
    assert [(each.low, each.high) for each in line.rounds] == [(0.2, 0.3), (0.5, 0.9)]
    assert (line.seeds, line.void, line.success) == (3, 0, None)


def test_the_worst_of_an_attacks_success_is_the_highest():
    results = [result_of(seed, [0.9], success=rate) for seed, rate in ((0, 0.25), (1, 0.75))]
    document = line_document(summarise(results)[0])

    assert document["attack_success_worst"] == 0.75
    assert document["attack_success_mean"] == 0.5


def test_refusals_are_given_by_side_and_reason_and_the_worst_treated_is_named():
    first = [("a", False, 10, 1), ("b", False, 10, 3), ("z", True, 10, 9)]
    second = [("a", False, 4, 2), ("b", False, 10, 0), ("z", True, 10, 10)]
    (line,) = summarise([result_of(7, [0.9], members=first), result_of(8, [0.9], members=second)])
    document = line_document(line)

    assert line.honest.share == 6 / 34
    assert document["malicious_refused_share"] == 0.95
    assert document["honest_reasons"] == {"norm": 6}
    assert (line.worst.member, line.worst.seed, line.worst.refused) == ("a", 8, 2)


def test_nobody_is_treated_worst_where_no_honest_update_is_refused():
    (line,) = summarise([result_of(0, [0.9], members=[("a", False, 3, 0), ("z", True, 3, 3)])])

    assert line.worst is None
    assert line_document(line)["worst_treated_member"] is None


def test_plots_are_drawn_with_cells_missing(finished, tmp_path):
    _, out = finished
    folder = SweepFolder.open(out)
    write_plots(tmp_path, folder.sweep, summarise(folder.results()[:3]))
    names = plot_names(folder.sweep)

    assert names == ["summary.png", "rounds-wine-iid.png"]
    for name in names:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_timings_name_the_machine_and_stay_out_of_the_results(finished):
    _, out = finished
    timings = rows_of(out / "timings.csv")

    assert len(timings) == 8
    assert all(float(row["seconds"]) > 0 and row["cpu"] and row["numpy"] for row in timings)
    assert "seconds" not in rows_of(out / "results.csv")[0]


# --- what there is


@pytest.mark.parametrize("name", list(all_attacks()))
def test_every_attack_says_what_its_author_knows(name):
    known = known_by_author(all_attacks()[name])

    assert known.startswith("Its author")
    assert known.endswith(".")


def test_the_catalogue_names_everything_in_one_line_each():
    found = catalogue()

    assert {entry["name"] for entry in found["recipes"]} >= {"standard", "bflc", "chain-fl"}
    assert [entry["name"] for entry in found["attacks"]] == ["none", *all_attacks()]
    assert {"iid", "dirichlet:A"} == {entry["name"] for entry in found["partitions"]}
    for entry in (each for entries in found.values() for each in entries):
        assert entry["says"]
        assert "\n" not in json.dumps(entry)
