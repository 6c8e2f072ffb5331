"""What a bake-off hands to its runs, and what it refuses before the first one."""

import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.runs import REPOSITORY

from alm_lightning.app.bakeoff.plan import make_plan
from alm_lightning.app.hydra.callbacks import RefuseExistingFolder

# a composition for each objective
pytestmark = pytest.mark.slow

SMOLLM2 = "experiment=gemma_to_smollm2_tokenizer"


def with_hydra(*overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        return compose("train", ["sweep=bakeoff", *overrides], return_hydra_config=True)


@pytest.fixture
def planned(tmp_path):
    def plan(*said, **settings):
        own = {"objectives": ["alm", "next_token", "alm_next_token"], **settings}
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            node = OmegaConf.to_container(compose("train", ["sweep=bakeoff"]).bakeoff) | own
            return make_plan(node, tmp_path, said, lambda given: compose("train", given))

    return plan


def test_every_objective_of_the_list_composes(planned):
    objectives = list(with_hydra().bakeoff.objectives)
    assert "next_token" in objectives
    plan = planned(SMOLLM2, objectives=objectives)
    terms = {name: set(config["objective"]) for name, config in plan.configs.items()}
    assert terms["next_token"] == {"next_token"}
    assert terms["alm_next_token"] == {"alm", "next_token"}
    # all of what else is set is the same
    rest = [
        {k: v for k, v in config.items() if k != "objective"} for config in plan.configs.values()
    ]
    assert all(each == rest[0] for each in rest)


def test_where_a_bake_off_writes_holds_no_time():
    cfg = with_hydra(SMOLLM2)
    assert cfg.hydra.sweep.dir == "multirun/gemma_to_smollm2_tokenizer/bakeoff"
    assert cfg.hydra.sweep.subdir == "."


@pytest.mark.parametrize("file", ["docs/guides/bakeoff.md", "conf/sweep/bakeoff.yaml"])
def test_the_arguments_of_evaluate_that_are_shown_are_hydras_grammar(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    (shown,) = re.findall(r"'(bakeoff\.evaluate=\[[^']*)'", text)
    assert list(with_hydra(shown).bakeoff.evaluate) == [
        "harness=gsm8k",
        "harness.gsm8k.path=gsm8k_test.jsonl",
    ]


def test_a_plain_call_is_refused_with_the_command_to_give():
    with pytest.raises(SystemExit, match=r"many runs.*train.py -m sweep=bakeoff experiment="):
        RefuseExistingFolder().on_run_start(with_hydra())


def test_lists_of_values_and_foreign_folders_are_refused(tmp_path):
    def start(*task, folder=tmp_path / "new"):
        cfg = with_hydra(f"hydra.sweep.dir={folder}")
        OmegaConf.update(cfg, "hydra.overrides.task", list(task), force_add=True)
        RefuseExistingFolder().on_multirun_start(cfg)

    start("budget.steps=3", "bakeoff.seeds=[0,1]")
    for several in ("budget.steps=3,4", "experiment=a,b", "seed=range(1,3)"):
        with pytest.raises(SystemExit, match=f"but {several.partition('=')[0]}=.* has several"):
            start(several)
    # the folder of something else
    with pytest.raises(SystemExit, match="exists, and a run never writes over another"):
        start(folder=tmp_path)
    (tmp_path / "bakeoff.lock").touch()
    start(folder=tmp_path)


def test_runs_are_told_what_the_command_line_said(planned):
    plan = planned(SMOLLM2, "sweep=bakeoff", "bakeoff.seeds=[3]", "budget.steps=7", seeds=[3])
    run = plan.run("alm", plan.rates[0], 3)
    assert run.overrides == (
        SMOLLM2,
        "budget.steps=7",
        "objective=alm",
        "budget.learning_rate=1.5e-05",
        "seed=3",
    )
    assert plan.configs["alm"]["budget"]["steps"] == 7
    assert "bakeoff" not in plan.configs["alm"]
    assert run.folder == plan.folder / "alm" / "lr_1.5e-05" / "seed_3"


def test_rates_are_factors_of_the_experiments_or_said(planned):
    assert planned(SMOLLM2).rates == ["1.5e-05", "5e-05", "0.00015"]
    own = planned(SMOLLM2, "budget.learning_rate=1e-3", factors=[2])
    assert own.rates == ["0.002"]
    # it comes with each run, once
    assert own.overrides["alm"] == [SMOLLM2]
    assert planned(SMOLLM2, learning_rates=[1e-5, 0.5]).rates == ["1e-05", "0.5"]


def test_a_setting_of_a_term_goes_to_the_objectives_that_have_it(planned):
    plan = planned(SMOLLM2, "objective.alm.temperature=100", "+objective.next_token.x=null")
    added = "+objective.next_token.x=null"
    assert plan.overrides["alm"] == [SMOLLM2, "objective.alm.temperature=100", added]
    assert plan.overrides["next_token"] == [SMOLLM2, added]
    assert plan.configs["alm_next_token"]["objective"]["alm"]["temperature"] == 100
    with pytest.raises(ValueError, match=r"objective.uldd.x=1: none of bakeoff.objectives \(alm, "):
        planned("objective.uldd.x=1")
    # a wrong key of a right term is Hydra's own error
    with pytest.raises(Exception, match=r"Could not override 'objective\.alm\.temprature'"):
        planned("objective.alm.temprature=1")


@pytest.mark.parametrize(
    "said",
    ["objective=alm", "seed=3", "ablation=tau_1", "ckpt_path=x.ckpt", "paths.output_dir=x"],
)
def test_what_cannot_be_said_of_all_runs_is_refused(planned, said):
    with pytest.raises(ValueError, match=f"can't pass {said} to its runs: .* Leave it out"):
        planned(said)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"objectives": []}, "bakeoff.objectives is .*names of conf/objective"),
        ({"objectives": ["alm", "alm"]}, "each once"),
        ({"objectives": "alm"}, "expected a list of names"),
        ({"seeds": [0, -1]}, "bakeoff.seeds is .*whole numbers from 0 on"),
        ({"seeds": [True]}, "whole numbers"),
        ({"learning_rates": [0.0]}, "bakeoff.learning_rates is .*numbers above 0"),
        ({"learning_rates": ["fast"]}, "numbers above 0"),
        ({"factors": [float("inf")]}, "bakeoff.factors is .*numbers above 0"),
        (
            {"criterion": "bits.after"},
            "bakeoff.criterion is 'bits.after': expected a number of summary",
        ),
        ({"criterion": "bits_per_byte"}, "one of bits_per_byte.teacher, "),
        ({"criterion": ["seconds.total"]}, "expected a number of summary.json"),
        ({"lower_is_better": "no"}, "bakeoff.lower_is_better is 'no': expected true or false"),
        ({"lower_is_better": None}, "expected true or false"),
        ({"evaluate": "harness=gsm8k"}, "bakeoff.evaluate is .*expected null or a list"),
        ({"evaluate": [{"harness": "gsm8k"}]}, "bakeoff.evaluate is .*expected null or a list"),
        ({"keep_models": "best"}, "bakeoff.keep_models is 'best': expected all, or chosen"),
        ({"keep_models": None}, "expected all, or chosen"),
        (
            {"evaluate": ["harness=blimp", "paths.output_dir=x"]},
            "other than the model and the output",
        ),
        ({"evaluate": ["model=x"]}, "other than the model and the output"),
        ({"baseline": 3}, "bakeoff.baseline is 3: expected the name of an objective"),
    ],
)
def test_settings_that_make_no_sense(planned, settings, error):
    with pytest.raises(ValueError, match=error):
        planned(**settings)


def test_a_baseline_may_be_absent_and_a_criterion_any_figure(planned):
    settings = {"baseline": None, "criterion": "gap_closed.other.bits_per_byte"}
    assert planned(SMOLLM2, objectives=["alm"], **settings).settings["baseline"] is None
    planned(SMOLLM2, objectives=["alm"], baseline="uld", lower_is_better=False)


def test_fixed_weights_that_lack_a_term_are_refused(planned):
    said = (SMOLLM2, "balance=fixed")
    with pytest.raises(ValueError, match=r"these objectives: uld: uld\. .*weights\.uld=1`"):
        planned(*said, objectives=["alm_next_token", "uld"])
    weight = "+balance.weights.uld=1"
    plan = planned(*said, weight, objectives=["alm_next_token", "uld"])
    assert plan.configs["uld"]["balance"]["weights"]["uld"] == 1


def test_an_unknown_objective_is_hydras_own_error_and_lists_those_that_exist(planned):
    with pytest.raises(Exception, match=r"(?s)objective/nope.*Available options.*alm_next_token"):
        planned(objectives=["nope"])


@pytest.mark.parametrize("jobs", [0, 1.5, True, "two"])
def test_jobs_that_are_no_number_of_runs_are_refused(planned, jobs):
    with pytest.raises(ValueError, match=r"bakeoff.jobs is .*such as bakeoff.jobs=2"):
        planned(SMOLLM2, jobs=jobs)
