"""A workspace and a report: what they would be, and what W&B's package makes of it."""

import json

import pytest
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY

from alm_lightning.app.commands import workspace as command
from alm_lightning.app.workspace import view_of
from alm_lightning.app.workspace.panels import CRITERION, SAMPLES, known_terms
from alm_lightning.app.workspace.upload import report_of, workspace_of

# wandb-workspaces 0.4 is written for an older pydantic
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")

CONF = REPOSITORY / "conf"
OBJECTIVES = sorted(path.stem for path in (CONF / "objective").glob("*.yaml"))


def metrics(view):
    return {name for section in view.sections for panel in section.panels for name in panel.metrics}


@pytest.mark.slow
def test_runs_log_what_panels_show(run_here, tmp_path):
    run_here("objective=alm_next_token", "on_policy=half", "on_policy.max_new_tokens=8")
    logged = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    view = view_of(["alm", "next_token"], project="p")
    assert metrics(view) - {SAMPLES} <= set(logged)
    for beginning in ("train/balance_", "chunks/weight_"):
        assert any(name.startswith(beginning) for name in logged)


def test_every_term_is_known():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = {key for name in OBJECTIVES for key in compose(f"objective/{name}").objective}
    assert set(known_terms(CONF / "objective")) == composed


@pytest.mark.parametrize("options", [[], ["--offline"]])
def test_offline_the_command_says_what_it_would_make(capsys, monkeypatch, options):
    # WANDB_MODE is offline in tests
    monkeypatch.setattr("wandb.Api", None)
    command.main([*options, "--objective", "alm_next_token", "--group", "a_search"])
    shown = capsys.readouterr()
    view = json.loads(shown.out)
    assert (view["project"], view["group"]) == ("alm-lightning", "a_search")
    names = [section["name"] for section in view["sections"]]
    assert names[:3] == ["Bits per byte", "Losses by term", "Balance"]
    losses = [panel["metrics"] for panel in view["sections"][1]["panels"]]
    assert losses == [["train/loss"], ["train/alm"], ["train/next_token"]]
    assert shown.err.startswith("nothing was made (")
    assert "8 sections" in shown.err


def test_without_an_objective_there_are_all_terms(capsys):
    command.main(["--offline"])
    losses = json.loads(capsys.readouterr().out)["sections"][1]["panels"]
    assert len(losses) == 1 + len(known_terms(CONF / "objective"))


def test_an_unknown_objective_is_an_error(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--offline", "--objective", "almm"])
    assert ended.value.code == command.BAD_INPUT
    assert "objective/almm" in capsys.readouterr().err


def test_with_a_key_a_missing_package_is_named(capsys, monkeypatch):
    monkeypatch.setattr(command, "is_wandb_offline", lambda: False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        command.main([])
    assert "pip install 'alm-lightning[sweeps]'" in capsys.readouterr().err


@pytest.mark.parametrize("group", [None, "a_search"])
def test_wandbs_package_takes_the_workspace(group):
    pytest.importorskip("wandb_workspaces", reason="the extra sweeps")
    view = view_of(["alm"], project="p", group=group)
    made = workspace_of(view, "e")._to_model().model_dump(by_alias=True, exclude_none=True)
    assert (made["entity"], made["project"]) == ("e", "p")
    sections = made["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [each.name for each in view.sections]
    lines = sections[1]["panels"][1]["config"]
    assert lines["metrics"] == ["train/alm"]
    assert lines["xAxis"] == "trainer/global_step"
    (runs,) = made["spec"]["section"]["runSets"]
    assert runs["sort"]["keys"][0]["key"] == {"section": "summary", "name": CRITERION}
    said = json.dumps(runs["filters"])
    assert ("a_search" in said) == (group is not None)


def test_wandbs_package_takes_the_report(monkeypatch):
    interface = pytest.importorskip(
        "wandb_workspaces.reports.v2.interface", reason="the extra sweeps"
    )
    # it asks for the number of the project
    monkeypatch.setattr(interface, "_get_api", lambda: None)
    answer = {"project": {"internalId": "7"}}
    monkeypatch.setattr(interface, "execute_graphql", lambda *args: answer)
    view = view_of(["alm"], project="p", group="a_search")
    made = report_of(view, "e")._to_model().model_dump(by_alias=True, exclude_none=True)
    blocks = made["spec"]["blocks"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    assert len(grids) == len(view.sections)
    panels = [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    assert len(panels) == sum(len(section.panels) for section in view.sections)
    # none lies on another
    places = [
        (number, panel["layout"]["x"], panel["layout"]["y"])
        for number, grid in enumerate(grids)
        for panel in grid["panelBankSectionConfig"]["panels"]
    ]
    assert len(set(places)) == len(places)
