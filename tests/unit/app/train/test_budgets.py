"""What of a budget that was asked for an experiment has set otherwise."""

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from tests.config.conftest import CONF

from alm_lightning.app.train.budgets import warn_of_other_numbers


@pytest.fixture
def warned(caplog):
    """What is said of a command line, composed as a running program has it."""

    def warned(*overrides):
        caplog.clear()
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            loader = GlobalHydra.instance().config_loader()
            cfg = loader.load_configuration("train", list(overrides), RunMode.RUN)
            HydraConfig.instance().set_config(cfg)
            try:
                warn_of_other_numbers(cfg)
            finally:
                HydraConfig.instance().cfg = None
        return caplog.text

    return warned


def test_numbers_of_an_experiment_are_said_where_a_budget_was_asked_for(warned):
    asked = ("experiment=gemma_to_smollm2_tokenizer", "budget=paper_subword")
    said = warned(*asked)
    assert "experiment=gemma_to_smollm2_tokenizer sets budget.student_length=128" in said
    assert "For the numbers of the budget: paper_subword" not in said
    assert (
        "budget=paper_subword does not. For the numbers of the budget: budget.student_length=512"
        in (said)
    )
    given = "budget.student_length=512 budget.teacher_length=512 budget.learning_rate=1e-5"
    assert warned(*asked, *given.split()) == ""
    # a file of the user's own, of which this knows nothing, and a run without an experiment
    assert warned("~experiment", "name=x", "budget=laptop") == ""
    # what else sets numbers is no experiment
    assert warned("budget=laptop", "debug=fast") == ""
    assert "sets budget.student_length=128" in warned(*asked, "debug=fast")
    # nothing was asked for, or nothing is set otherwise
    assert warned("experiment=gemma_to_smollm2_tokenizer") == ""
    assert warned("budget=laptop") == ""
    assert warned("experiment=gemma2_to_qwen2", "budget=laptop", "budget.steps=7") == ""
