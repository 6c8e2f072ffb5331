"""Configurations as the command line composes them, and chats in place of the hub's."""

from pathlib import Path

import datasets
import pytest
from hydra import compose, initialize_config_dir

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def composed(tmp_path):
    """Composes as the command line does, with an output folder of the test's own."""

    def compose_it(*overrides):
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            own = [f"paths.output_dir={tmp_path}", f"cache_dir={tmp_path}/cache"]
            return compose("train", [*own, *overrides])

    return compose_it


@pytest.fixture
def chats(monkeypatch):
    """A few chats in place of the hub's."""

    def load_dataset(name, config, *, split, revision, streaming):
        assert (name, split) == ("allenai/tulu-3-sft-mixture", "train")
        turns = [
            [
                {"role": "user", "content": f"What is {number} and {number}?"},
                {"role": "assistant", "content": f"It is {2 * number}."},
            ]
            for number in range(12)
        ]
        return datasets.Dataset.from_dict({"messages": turns})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
