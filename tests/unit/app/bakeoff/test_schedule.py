"""The order of a bake-off's runs, the choice of the rate, resuming, and the table's values."""

import json
import math
import statistics
import threading

import pytest
import torch

from alm_lightning.app.bakeoff.command import failure_message
from alm_lightning.app.bakeoff.figures import (
    BITS_OTHER,
    MEMORY,
    SECONDS,
    evaluation_folder,
    over_runs,
    over_seeds,
    selected,
)
from alm_lightning.app.bakeoff.plan import Plan
from alm_lightning.app.bakeoff.pool import ProcessPool
from alm_lightning.app.bakeoff.schedule import Schedule, write_tables
from alm_lightning.app.bakeoff.state import chosen_rate, read_state
from alm_lightning.app.bakeoff.table import as_json, markdown, relative
from alm_lightning.app.train.divergence import write_divergence
from alm_lightning.training.diverged import Diverged

# runs, one after another
pytestmark = pytest.mark.slow

SETTINGS = {
    "criterion": "bits_per_byte_other.student_after",
    "lower_is_better": True,
    "baseline": "next_token",
    "jobs": 1,
    "evaluate": ["harness=gsm8k"],
    "keep_models": "all",
}
# at seed 0: alm is best at 0.1, next_token at 1
OTHER = {
    ("alm", "0.1"): (1.10, 1.12, 1.17),
    ("alm", "1"): (1.20, 0.5, 0.5),
    ("next_token", "0.1"): (1.30, 0.5, 0.5),
    ("next_token", "1"): (1.25, 1.21, 1.23),
}


def summary(other, *, seconds=2.0, memory=2**30, inside=1.0):
    return {
        "bits_per_byte": {"teacher": 0.5, "student_before": 2.5, "student_after": inside},
        "bits_per_byte_other": {"teacher": 1.0, "student_before": 3.0, "student_after": other},
        "chunk_difference": {"before": 4, "before_other": 5, "after": 0.25, "after_other": 0.75},
        "seconds": {"per_step": seconds},
        "peak_memory_bytes": memory,
        "model_path": "model",
    }


def write_run(run, values):
    run.folder.mkdir(parents=True, exist_ok=True)
    # whole or not at all, as train.py does it
    part = run.folder / "summary.json.part"
    part.write_text(json.dumps(values), encoding="utf-8")
    part.replace(run.folder / "summary.json")


@pytest.fixture
def plan(tmp_path):
    overrides = {"alm": ["x=1"], "next_token": ["x=1"]}
    return Plan(tmp_path, overrides, {}, ["0.1", "1"], [0, 1, 2], SETTINGS)


class Starter:
    """In place of processes: writes a summary, and keeps what it was asked."""

    def __init__(self, failing=(), diverging=()):
        self.failing, self.diverging, self.asked = set(failing), set(diverging), []

    def __call__(self, run):
        key = (run.objective, run.rate, run.seed)
        self.asked.append(key)
        if key in self.failing:
            return "ValueError: no luck"
        other = math.nan if key in self.diverging else OTHER[key[:2]][run.seed]
        faster = {"alm": 3.0, "next_token": 2.0}[run.objective]
        write_run(run, summary(other, seconds=faster + run.seed / 10, memory=2**30 * faster))
        return None


def evaluated(run):
    return None


def compete(plan, train, evaluate, jobs=1):
    schedule = Schedule(plan, train, evaluate, ProcessPool([{}] * jobs))
    schedule.run()
    return schedule.failures


def test_rates_by_the_first_seed_then_seeds_at_the_best_rate(plan):
    start = Starter()
    assert compete(plan, start, evaluated) == {}
    assert start.asked == [
        ("alm", "0.1", 0),
        ("alm", "1", 0),
        ("next_token", "0.1", 0),
        ("next_token", "1", 0),
        # the run that won counts as one of its seeds
        ("alm", "0.1", 1),
        ("next_token", "1", 1),
        ("alm", "0.1", 2),
        ("next_token", "1", 2),
    ]
    assert (plan.folder / "alm" / "lr_0.1" / "seed_2" / "summary.json").is_file()
    # again: everything is finished
    again = Starter()
    assert compete(plan, again, evaluated) == {}
    assert again.asked == []


def test_a_bake_off_that_was_stopped_goes_on_with_what_lacks(plan):
    class Stopped(Starter):
        def __call__(self, run):
            if len(self.asked) == 5:
                raise KeyboardInterrupt
            return super().__call__(run)

    start = Stopped()
    with pytest.raises(KeyboardInterrupt):
        compete(plan, start, evaluated)
    # there is a table of what was done
    assert "1.1100" in (plan.folder / "bakeoff.md").read_text(encoding="utf-8")
    missing = json.loads((plan.folder / "bakeoff.json").read_text(encoding="utf-8"))["missing"]
    assert missing == [
        "alm, learning rate 0.1, seed 2",
        "next_token, learning rate 1, seed 1",
        "next_token, learning rate 1, seed 2",
    ]
    rest = Starter()
    compete(plan, rest, evaluated)
    assert rest.asked == [("next_token", "1", 1), ("alm", "0.1", 2), ("next_token", "1", 2)]


def test_a_run_whose_export_failed_is_not_finished(plan):
    write_run(plan.run("alm", "0.1", 0), summary(0.1) | {"model_path": None})
    assert chosen_rate(plan, "alm") is None


def test_the_criterion_and_its_direction_are_settings(plan):
    write_run(plan.run("alm", "0.1", 0), summary(1.0, inside=1.6))
    write_run(plan.run("alm", "1", 0), summary(1.1, inside=1.5))
    assert chosen_rate(plan, "alm") == "0.1"
    inside = Plan(
        **(vars(plan) | {"settings": SETTINGS | {"criterion": "bits_per_byte.student_after"}})
    )
    assert chosen_rate(inside, "alm") == "1"
    highest = Plan(**(vars(plan) | {"settings": SETTINGS | {"lower_is_better": False}}))
    assert chosen_rate(highest, "alm") == "1"
    unknown = Plan(**(vars(plan) | {"settings": SETTINGS | {"criterion": "bits.after"}}))
    with pytest.raises(ValueError, match=r"bakeoff.criterion=bits.after: .* no such number"):
        chosen_rate(unknown, "alm")
    with pytest.raises(ValueError, match="no such number"):
        selected({"seed": True}, "seed")


def test_a_failed_run_leaves_the_others_and_the_table_with_its_error(plan):
    start = Starter(failing=[("alm", "0.1", 0), ("next_token", "1", 2)])
    failures = compete(plan, start, evaluated)
    assert failures == {
        "alm, learning rate 0.1, seed 0": "ValueError: no luck",
        "next_token, learning rate 1, seed 2": "ValueError: no luck",
    }
    # alm takes the rate that came to an end
    assert ("alm", "1", 2) in start.asked
    text = (plan.folder / "bakeoff.md").read_text(encoding="utf-8")
    assert "- alm, learning rate 0.1, seed 0: ValueError: no luck" in text
    assert "| next_token | 1 | 2 of 3 |" in text
    assert "Still to run" not in text


def test_an_objective_that_always_fails_has_an_empty_row(plan):
    start = Starter(failing=[("alm", "0.1", 0), ("alm", "1", 0)])
    compete(plan, start, evaluated)
    assert not any(objective == "alm" and seed for objective, _, seed in start.asked)
    assert "| alm | – | 0 of 3 | – |" in (plan.folder / "bakeoff.md").read_text(encoding="utf-8")


def test_a_run_that_diverged_is_never_chosen_nor_averaged(plan):
    start = Starter(diverging=[("alm", "0.1", 0), ("next_token", "1", 1)])
    compete(plan, start, evaluated)
    assert chosen_rate(plan, "alm") == "1"
    found = read_state(plan, {})
    assert found.failures["alm, learning rate 0.1, seed 0"].startswith("it diverged: bits_per_byte")
    assert found.diverged == {
        "alm, learning rate 0.1, seed 0",
        "next_token, learning rate 1, seed 1",
    }
    assert list(found.rows[1].seeds) == [0, 2]
    assert found.rows[1].figures[BITS_OTHER].value == pytest.approx((1.25 + 1.23) / 2)
    # NaN is no JSON
    json.loads(
        (plan.folder / "bakeoff.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
    )


def test_a_run_that_ended_before_its_last_step_diverged_too(plan):
    class Ends(Starter):
        def __call__(self, run):
            key = (run.objective, run.rate, run.seed)
            if key not in (("alm", "0.1", 0), ("next_token", "1", 2)):
                return super().__call__(run)
            self.asked.append(key)
            write_divergence(run.folder, Diverged(3, math.nan, {"alm": torch.tensor(math.nan)}))
            return "it diverged"

    evaluated_runs = []
    failures = compete(plan, Ends(), lambda run: evaluated_runs.append(str(run)))
    own = ["alm, learning rate 0.1, seed 0", "next_token, learning rate 1, seed 2"]
    assert list(failures) == own
    assert chosen_rate(plan, "alm") == "1"
    # it has no model
    assert own[1] not in evaluated_runs
    again = Ends()
    failures = compete(plan, again, evaluated)
    assert failures == {}
    assert again.asked == []
    found = read_state(plan, failures)
    assert found.diverged == set(own)
    assert found.missing == []
    assert found.failures[own[0]].startswith("it diverged: the gradient of step 3 (counted")
    told = failure_message(found, plan.folder / "bakeoff.md")
    assert told.startswith("2 runs diverged, and are not run again")


def test_the_end_tells_what_is_tried_again_from_what_is_not(plan):
    start = Starter(failing=[("next_token", "0.1", 0)], diverging=[("alm", "0.1", 0)])
    failures = compete(plan, start, evaluated)
    again = "1 runs failed: the same command tries them again."
    told = failure_message(read_state(plan, failures), plan.folder / "bakeoff.md")
    assert told.startswith(f"{again} 1 runs diverged, and are not run again: try lower rates")
    assert told.endswith("bakeoff.md says which and why.")
    # it is tried again, and does not fail
    rest = Starter()
    failures = compete(plan, rest, evaluated)
    assert rest.asked == [("next_token", "0.1", 0)]
    told = failure_message(read_state(plan, failures), plan.folder / "bakeoff.md")
    assert told.startswith("1 runs diverged")
    assert "tries them again" not in told
    alone = failure_message(
        read_state(plan, {"uld, learning rate 1, seed 0, evaluation": "x"}), plan.folder
    )
    assert alone.startswith(again)


def test_values_of_the_table_are_means_and_errors_over_seeds(plan):
    compete(plan, Starter(), evaluated)
    found = read_state(plan, {})
    alm, next_token = found.rows
    assert (alm.rate, alm.is_edge, next_token.rate) == ("0.1", True, "1")
    # (1.10 + 1.12 + 1.17) / 3; deviations -0.03, -0.01, 0.04: sqrt(0.0026 / 2 / 3)
    assert alm.figures[BITS_OTHER].value == pytest.approx(1.13)
    assert alm.figures[BITS_OTHER].stderr == pytest.approx(math.sqrt(0.0026 / 6))
    # (before - after) / (before - teacher), of each run: (3 - 1.10) / 2 = 0.95, 0.94, 0.915
    closed = alm.figures["gap closed, other domain"]
    assert closed.value == pytest.approx(0.935)
    assert closed.stderr == pytest.approx(statistics.stdev([0.95, 0.94, 0.915]) / math.sqrt(3))
    assert alm.figures["gap closed, training domain"].value == pytest.approx(0.75)
    assert alm.figures["difference, other domain"].value == 0.75
    assert alm.figures[SECONDS].value == pytest.approx(3.1)
    assert relative(SECONDS, alm, found.rows, "next_token") == pytest.approx(3.1 / 2.1)
    assert relative(MEMORY, alm, found.rows, "next_token") == pytest.approx(1.5)
    assert relative(MEMORY, alm, found.rows, "uld") is None
    assert found.ends["teacher"][BITS_OTHER].value == 1.0
    assert found.ends["student before"]["difference, other domain"].value == 5.0

    lines = markdown(plan, found).splitlines()
    (heads,) = (line for line in lines if line.startswith("|  | learning rate |"))
    (row,) = (line for line in lines if line.startswith("| alm | 0.1 | 3 of 3"))
    cells = dict(zip(heads.split(" | ")[3:], row.split(" | ")[3:], strict=True))
    assert cells[BITS_OTHER] == "1.1300 ± 0.0208"
    assert cells["seconds a step (s)"] == "3.100 ± 0.058"
    assert heads.count("× next_token") == 2
    assert "| 1.48 |" in row
    assert row.endswith("| 1.50 |")
    assert "| alm | 1.1000 | 1.2000 | 0.1, an edge |" in lines

    plain = as_json(plan, found)["objectives"][0]
    assert plain["figures"][BITS_OTHER]["values"] == [1.10, 1.12, 1.17]
    assert plain["figures"][SECONDS]["times_next_token"] == pytest.approx(3.1 / 2.1)
    assert plain["tried"] == {"0.1": 1.10, "1": 1.20}


def test_without_the_baseline_nothing_is_relative(plan):
    alone = Plan(**(vars(plan) | {"overrides": {"alm": []}}))
    compete(alone, Starter(), evaluated)
    text = (plan.folder / "bakeoff.md").read_text(encoding="utf-8")
    assert "×" not in text


def test_one_seed_has_no_error(plan):
    compete(Plan(**(vars(plan) | {"seeds": [0]})), Starter(), evaluated)
    assert "| 1.1000 |" in (plan.folder / "bakeoff.md").read_text(encoding="utf-8")
    # the error of a figure over a single run is unknown, not 0
    assert over_seeds([read_state(plan, {}).rows[0].seeds[0]])[BITS_OTHER].stderr is None


def test_accuracy_is_a_column_where_runs_were_evaluated(plan):
    def evaluate(run):
        if run.objective == "alm" and run.seed == 2:
            return "evaluate.py ended with 1"
        folder = evaluation_folder(run.folder, SETTINGS["evaluate"])
        folder.mkdir()
        (folder / "arguments.json").write_text(json.dumps(SETTINGS["evaluate"]), "utf-8")
        figure = {"value": 0.1 * run.seed, "stderr": 0.03, "unit": "accuracy"}
        result = {
            "harness": "gsm8k",
            "figures": {"exact_match": figure | {"count": 100, "lower_is_better": False}},
        }
        path = folder / "results.json"
        path.write_text(json.dumps([result]), encoding="utf-8")
        return None

    failures = compete(plan, Starter(), evaluate)
    assert failures == {"alm, learning rate 0.1, seed 2, evaluation": "evaluate.py ended with 1"}
    found = write_tables(plan, failures)
    assert found.rows[1].figures["gsm8k: exact match"].value == pytest.approx(0.1)
    # over the three seeds, not over problems: sqrt(0.02 / 2 / 3)
    assert found.rows[1].figures["gsm8k: exact match"].stderr == pytest.approx(math.sqrt(0.02 / 6))
    text = (plan.folder / "bakeoff.md").read_text(encoding="utf-8")
    assert "gsm8k: exact match (accuracy)" in text
    # alm has its other figures of three seeds
    assert "0.0500 ± 0.0500 (of 2)" in text
    assert "| alm | 0.1 | 3 of 3 |" in text
    # what was found with other arguments is no part of the means
    for settings in ({"evaluate": ["harness=gsm8k", "seed=1"]}, {"evaluate": None}):
        other = Plan(**(vars(plan) | {"settings": SETTINGS | settings}))
        assert "gsm8k: exact match" not in write_tables(other, {}).rows[1].figures


@pytest.mark.parametrize("values", [[1.0, math.inf], [math.nan, 1.0], [math.inf, -math.inf]])
def test_the_error_of_what_is_not_finite_is_no_number(values):
    mean, error = over_runs(values)
    assert not math.isfinite(mean)
    assert math.isnan(error)
    # one run has none
    assert over_runs([math.inf]) == (math.inf, None)


def test_a_figure_that_is_not_finite_leaves_the_tables(plan):
    for seed, inside in enumerate((1.0, math.inf, 1.5)):
        for objective, rate in (("alm", "0.1"), ("next_token", "1")):
            write_run(plan.run(objective, rate, seed), summary(1.1, inside=inside))
    write_tables(plan, {})
    text = (plan.folder / "bakeoff.md").read_text(encoding="utf-8")
    assert "| alm | 0.1 | 3 of 3 | – ± – |" in text
    assert (plan.folder / "bakeoff.svg").is_file()


def test_the_plot_has_a_panel_for_each_figure_and_a_dot_for_each_objective(plan):
    compete(plan, Starter(), evaluated)
    svg = (plan.folder / "bakeoff.svg").read_text(encoding="utf-8")
    assert svg.count('class="title"') == 8
    assert svg.count("<title>") == 16
    assert "alm: 1.130\u00a0±\u00a00.021" in svg
    # teacher and before, in the four panels that have them
    assert svg.count('class="reference"') == 8


def test_runs_side_by_side_are_those_of_one_after_another(plan):
    """All of the search before the first run that depends on it; the same table."""
    compete(plan, Starter(), evaluated)
    alone = as_json(plan, read_state(plan, {}))
    lock, together = threading.Lock(), []

    class AtOnce(Starter):
        def __call__(self, run):
            with lock:
                return super().__call__(run)

    other = Plan(**(vars(plan) | {"folder": plan.folder / "other"}))
    start = AtOnce(failing=[("next_token", "0.1", 0)])
    failures = compete(other, start, lambda run: together.append(run), jobs=4)
    assert list(failures) == ["next_token, learning rate 0.1, seed 0"]
    assert {key[2] for key in start.asked[:4]} == {0}
    assert len(together) == 6
    del alone["objectives"][1]["tried"]["0.1"]
    found = as_json(other, read_state(other, {}))
    found["objectives"][1]["tried"].pop("0.1", None)
    assert found["objectives"] == alone["objectives"]
