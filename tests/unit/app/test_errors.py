"""Which errors are shown as a sentence, and which with their traceback."""

import logging

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from alm_lightning.app.errors import UserError, explained, sentence_of
from alm_lightning.corpus.document import Document
from alm_lightning.corpus.heldout import DocumentIndex, check_share
from alm_lightning.corpus.sources.columns import PlainText
from alm_lightning.corpus.sources.files import TextFile
from alm_lightning.models.loading import torch_dtype


def raised(call, *arguments):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (which one is what is tested)
        call(*arguments)
    return caught.value


def test_what_this_project_refuses_is_a_sentence():
    for call, arguments in ((torch_dtype, ("int9",)), (check_share, (2.0,))):
        error = raised(call, *arguments)
        assert sentence_of(error) == str(error)
    assert "lone surrogate" in sentence_of(raised(Document, "\ud83d", "a.txt"))


def test_a_bug_keeps_its_traceback(monkeypatch):
    # a call that fails below, of the same kinds of errors: numpy's, Python's, torch's
    index = DocumentIndex(seed=0, split_by="document")
    index._fractions = None
    cases = [
        raised(lambda: np.zeros(2) + np.zeros(3)),
        raised(lambda: int("x")),
        raised(lambda: torch.zeros(2) @ torch.zeros(3)),
        raised(lambda: [][0]),
        raised(list, index.record([Document("a", "a")])),
    ]

    def trip(values):
        return np.zeros(2) + np.zeros(3)

    # in a frame of this project, too
    monkeypatch.setattr("alm_lightning.corpus.sources.columns.names_of", trip)
    trip.__globals__["__name__"], name = "alm_lightning.corpus.sources.columns", __name__
    try:
        cases.append(raised(trip, None))
    finally:
        trip.__globals__["__name__"] = name
    assert [sentence_of(error) for error in cases] == [None] * len(cases)


def test_a_setting_that_another_one_is_taken_from(caplog):
    cfg = OmegaConf.create({"student": {"name": "${.source.path}", "source": {"path": "???"}}})
    error = raised(lambda: cfg.student.name)
    assert sentence_of(error) == (
        "student.source.path has no default and was not given. Set student.source.path=..."
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file", "x"), "No such file"),
        (PermissionError(13, "Permission denied", "out"), "Permission denied"),
        (OSError(28, "No space left on device"), "No space left"),
        (MisconfigurationException("no GPU was found"), "no GPU was found"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "too little memory (CUDA out of"),
        (MemoryError(), "too little memory (no memory for Python's objects)"),
    ],
)
def test_errors_of_the_machine_are_sentences(error, words):
    def fail():
        raise error

    assert words in sentence_of(raised(fail))


class Faulty:
    """A constructor with a bug."""

    def __init__(self, path=""):
        self.path = path.nothing


def test_bugs_that_look_like_a_users_errors_keep_their_traceback():
    def not_written():
        raise NotImplementedError

    bugs = [
        raised(not_written),
        # a key that the program asks for, and no file has
        raised(lambda: OmegaConf.structured({"trainer": 1}, flags={"struct": True}).trianer),
        raised(instantiate, {"a": {"_target_": f"{__name__}.Faulty"}}),
    ]
    assert [sentence_of(error) for error in bugs] == [None] * len(bugs)
    # such a class is the user's: its name was given
    said = sentence_of(raised(instantiate, {"a": {"_target_": f"{__name__}.Nothing"}}))
    assert said.startswith("Error locating target")


@pytest.mark.parametrize("shown", ["", "1"])
def test_hydra_is_given_no_second_text_to_show(monkeypatch, shown):
    monkeypatch.setenv("HYDRA_FULL_ERROR", shown)
    cfg = OmegaConf.create({"corpus": "???"})
    error = raised(explained(lambda cfg: cfg.corpus), cfg)
    assert str(error) == "error: corpus has no default and was not given. Set corpus=..."
    # the traceback is shown where it was asked for
    assert (error.__cause__ is not None) == bool(shown)
    assert isinstance(error.__context__, MissingMandatoryValue)


def test_a_setting_that_was_not_given_is_named():
    cfg = OmegaConf.create({"corpus": {"source": {"path": "???"}}})
    sentence = sentence_of(raised(lambda: cfg.corpus.source.path))
    assert sentence == (
        "corpus.source.path has no default and was not given. Set corpus.source.path=..."
    )


def test_an_error_of_a_constructor_names_the_setting():
    node = OmegaConf.create(
        {"corpus": {"_target_": f"{TextFile.__module__}.TextFile", "path": "a", "separator": ""}}
    )
    sentence = sentence_of(raised(instantiate, node))
    assert sentence.startswith("separator is the empty string")
    assert sentence.endswith("(in corpus)")
    # Hydra's own words: no such argument
    node.corpus.nothing = 1
    assert "unexpected keyword argument 'nothing'" in sentence_of(raised(instantiate, node))
    # at the top there is no setting to name
    assert sentence_of(raised(instantiate, {"_target_": "fractions.Fraction", "nothing": 1}))
    node = {"_target_": f"{check_share.__module__}.check_share", "heldout_share": 2.0}
    assert sentence_of(raised(instantiate, node)).startswith("heldout_share is 2.0; expected")


def logged(handler):
    """A user's error of a program that logs to a file."""
    logging.getLogger().addHandler(handler)
    try:
        return raised(explained(lambda cfg: PlainText()(1, "a.jsonl:1")), OmegaConf.create())
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def test_the_traceback_is_in_the_log_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = logging.FileHandler(tmp_path / "train.log", encoding="utf-8", delay=True)
    error = logged(handler)
    assert isinstance(error, UserError)
    assert str(error).startswith("error: a.jsonl:1: expected text (str), found int: 1.")
    assert str(error).endswith("\nThe traceback is in train.log")
    text = (tmp_path / "train.log").read_text("utf-8")
    assert "Traceback (most recent call last)" in text
    assert "BadDocument: a.jsonl:1" in text


def test_a_log_file_without_room_is_not_named(tmp_path, monkeypatch, capsys):
    class Full(logging.FileHandler):
        def format(self, record):
            raise OSError(28, "No space left on device")

    handler = Full(tmp_path / "train.log", encoding="utf-8")
    error = logged(handler)
    assert "train.log" not in str(error)
    # nor does logging tell of its own trouble
    assert "Logging error" not in capsys.readouterr().err
    assert logging.raiseExceptions


def test_other_errors_come_through():
    with pytest.raises(ZeroDivisionError):
        explained(lambda cfg: 1 / 0)(OmegaConf.create())
