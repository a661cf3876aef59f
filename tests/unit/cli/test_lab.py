"""`tally lab`: the documents, going on after an interruption, and who computes."""

import json
import signal
import sys
import time

import pytest
from make_lab import BEGIN, END, measured_part, rewritten
from support.commands import start

from tallystick.cli import main
from tallystick.errors import ConfigError
from tallystick.lab.sweep import SweepFolder

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

SMALL = (
    *("--recipes", "learningchain,standard", "--attacks", "sign-flip:4=1,none=0"),
    *("--data", "wine", "--members", 4, "--rounds", 2, "--seeds", 3),
)
LONG_SECONDS = 240


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a sweep that one process computed in one go."""
    out = tmp_path_factory.mktemp("lab") / "sweep"
    assert main([*map(str, ("lab", "run", *SMALL)), "--workers", "1", "--out", str(out)]) == 0
    return out


def cells_in(out):
    return sorted((out / "cells").glob("[0-9a-f]*.json")) if (out / "cells").is_dir() else []


def begun(out, *arguments):
    """Start a sweep and return it once something is finished, but not everything."""
    process = start("lab", "run", *SMALL, "--out", out, *arguments)
    deadline = time.monotonic() + LONG_SECONDS
    while not cells_in(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def test_the_document_has_the_sweep_and_its_summary(tally, undisturbed):
    ran = tally("lab", "show", undisturbed, "--json")
    document = ran.document

    assert ran.status == 0
    assert document["format"] == "tally.lab/1"
    assert (document["ok"], document["complete"]) == (True, True)
    assert (document["cells"], document["finished"]) == (12, 12)
    assert document["sweep"]["recipes"] == ["learningchain", "standard"]
    assert len(document["summary"]) == 4
    assert {"results.csv", "timings.csv", "summary.csv", "summary.png"} <= set(document["files"])


def test_a_finished_sweep_run_again_prints_the_same_and_computes_nothing(tally, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in cells_in(undisturbed)}
    bytes_before = (undisturbed / "results.csv").read_bytes()
    ran = tally("lab", "run", *SMALL, "--out", undisturbed, "--json")

    assert ran.status == 0
    assert ran.document["finished"] == 12
    assert {path: path.stat().st_mtime_ns for path in cells_in(undisturbed)} == before
    assert (undisturbed / "results.csv").read_bytes() == bytes_before


def test_people_get_a_table_of_attacks_and_recipes(tally, undisturbed):
    ran = tally("lab", "show", undisturbed)

    assert ran.status == 0
    assert "12 of 12 cells: 4 members, 2 rounds, 3 seeds from 0" in ran.out
    assert "wine, iid: accuracy of the final model, mean [worst seed]" in ran.out
    for word in ("sign-flip:4=1", "learningchain", "standard", "at its worst", "results.csv"):
        assert word in ran.out
    assert "\x1b" not in ran.out


def test_a_folder_without_a_sweep_is_bad_input(tally, tmp_path):
    ran = tally("lab", "show", tmp_path, "--json")

    assert ran.status == 2
    assert "holds no sweep" in ran.error["message"]


def test_a_different_sweep_into_the_same_folder_is_bad_input(tally, undisturbed):
    ran = tally("lab", "run", *SMALL, "--rounds", 3, "--out", undisturbed, "--json")

    assert ran.status == 2
    assert "holds another sweep" in ran.error["message"]


def test_the_list_says_what_authors_know(tally):
    ran = tally("lab", "list")
    document = tally("lab", "list", "--json").document

    assert ran.status == 0
    assert "Its author knows its own data, the model and the task" in ran.out
    assert {"recipes", "attacks", "data", "partitions"} <= set(document)


def test_workers_and_a_cluster_exclude_each_other(tally, tmp_path):
    ran = tally("lab", "run", "--workers", 2, "--dask", "tcp://x:1", "--out", tmp_path, "--json")

    assert ran.status == 2
    assert "exclude each other" in ran.error["message"]


def test_without_dask_the_extra_is_named(tally, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    out = tmp_path / "out"
    ran = tally("lab", "run", *SMALL, "--dask", "tcp://x:1", "--out", out, "--json")

    assert ran.status == 2
    assert ran.error["code"] == "missing-extra"
    assert "pip install 'tallystick[dask]'" in ran.error["hint"]


def test_interrupted_and_killed_a_sweep_ends_with_the_same_bytes(undisturbed, tmp_path):
    out = tmp_path / "sweep"
    first = begun(out, "--workers", 2, "--json")
    first.send_signal(signal.SIGINT)
    told, _ = first.communicate(timeout=LONG_SECONDS)
    after_first = len(cells_in(out))
    second = start("lab", "run", *SMALL, "--out", out, "--workers", 2)
    deadline = time.monotonic() + LONG_SECONDS
    while len(cells_in(out)) <= after_first and time.monotonic() < deadline:
        time.sleep(0.01)
    second.kill()
    second.communicate(timeout=LONG_SECONDS)
    after_second = len(cells_in(out))
    third = start("lab", "run", *SMALL, "--out", out, "--workers", 2)
    third.communicate(timeout=LONG_SECONDS)

    assert first.returncode == 130
    assert json.loads(told)["error"]["code"] == "interrupted"
    assert second.returncode == -signal.SIGKILL
    assert third.returncode == 0
    assert 0 < after_first < after_second < 12
    for name in ("results.csv", "summary.csv"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.network
@pytest.mark.filterwarnings("ignore")  # of Dask's own making
def test_a_dask_cluster_of_two_workers_comes_to_the_same_bytes(tally, undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "sweep"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        ran = tally(
            *("lab", "run", *SMALL, "--out", out, "--dask", cluster.scheduler_address, "--json")
        )

    assert ran.status == 0, ran.err
    for name in ("results.csv", "summary.csv"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.network
def test_where_no_scheduler_answers_it_is_not_available_now(tally, tmp_path):
    pytest.importorskip("distributed")
    address = "tcp://127.0.0.1:9"
    ran = tally("lab", "run", *SMALL, "--out", tmp_path / "x", "--dask", address, "--json")

    assert ran.status == 3
    assert address in ran.error["message"]


# --- the page


def test_the_page_holds_every_combination_and_where_standard_is_worst(undisturbed):
    part = measured_part([SweepFolder.open(undisturbed)])
    page = rewritten(f"above\n{BEGIN}old\n{END}below\n", part)

    assert "| `sign-flip:4=1` |" in part
    assert "### Where `standard` does worst, by attack" in part
    assert "12 cells by tallystick" in part
    assert page.startswith("above\n")
    assert page.endswith("below\n")
    assert "old" not in page
    assert rewritten(page, part) == page


def test_the_page_is_not_written_from_half_a_sweep(undisturbed, tmp_path):
    begun_only = SweepFolder.claim(tmp_path / "half", SweepFolder.open(undisturbed).sweep)

    with pytest.raises(ConfigError, match="0 of 12 cells"):
        measured_part([begun_only])
