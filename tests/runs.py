"""A run in small: a tiny model, a page of text, three steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from alm_lightning.app.train.command import train

REPOSITORY = Path(__file__).parents[1]
TEXT = "The quick brown fox number {} jumps over the lazy dog.\nIt cost {}.50 in 1999."
OTHER = "def add_{}(first, second):\n    return first + second + {}\n"


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """Two text files of twelve documents each."""
    folder = tmp_path_factory.mktemp("texts")
    files = {"corpus": folder / "prose.txt", "corpus_other": folder / "code.txt"}
    for file, text in zip(files.values(), (TEXT, OTHER), strict=True):
        file.write_text("\n\n".join(text.format(n, n) for n in range(12)), encoding="utf-8")
    return files


@pytest.fixture(scope="session")
def tiny(model_folder, texts):
    """Overrides that make a run tiny."""
    return [
        "student=folder",
        f"student.source.path={model_folder}",
        "student.special_tokens=['<start_of_turn>','<end_of_turn>']",
        "corpus=text",
        f"corpus.source.path={texts['corpus']}",
        "corpus@corpus_other=text",
        f"corpus_other.source.path={texts['corpus_other']}",
        "trainer=cpu",
        "budget.steps=3",
        "budget.student_length=96",
        "budget.evaluation_windows=4",
        "sample_bytes=24",
        # the objective with most parts; the default one has a run of its own
        "objective=alm_next_token_hidden",
        # an untrained teacher sees no boundary coming anywhere: at 0.1 all chunks would be one
        "objective.alm.threshold=0.01",
    ]


@pytest.fixture
def run_here(tiny, tmp_path):
    """Composes a tiny run and trains it in this process."""

    def run(*overrides, without=()):
        kept = [override for override in tiny if override.partition("=")[0] not in without]
        # what a test says comes last, and wins; a sample would only cost time
        said = [f"paths.output_dir={tmp_path}", *kept, "sample_prompts=0", *overrides]
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            cfg = compose("train", said)
        return train(cfg)

    return run


@pytest.fixture(scope="session")
def run_apart(tiny):
    """Runs ``python train.py`` on a tiny run in a process of its own."""

    def run(*overrides, cwd, flags=(), is_traced=True, without=(), **environment):
        """`is_traced=False` leaves coverage out, which Hydra takes for a debugger: to a debugger it
        raises errors instead of showing them.
        """
        kept = {k: v for k, v in os.environ.items() if is_traced or not k.startswith("COVERAGE_")}
        said = [override for override in tiny if override.partition("=")[0] not in without]
        return subprocess.run(
            [sys.executable, str(REPOSITORY / "train.py"), *flags, *said, *overrides],
            cwd=cwd,
            env={**kept, "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=900,  # a bake-off in it is seven runs, and the machine may be busy
            check=False,
        )

    return run
