"""What is wrong with the input is told in one clear error, before the first step."""

import errno
import logging

import pytest
import torch
from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
)
from omegaconf.errors import MissingMandatoryValue
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from alm_lightning.corpus.document import BadDocument, CorpusError
from alm_lightning.training.module import DistillModule

TRAINING_STEP = DistillModule.training_step


@pytest.fixture(autouse=True)
def no_step(monkeypatch):
    """Fails a test whose run comes as far as a step."""

    def training_step(*arguments):
        pytest.fail("a step was taken")

    monkeypatch.setattr(DistillModule, "training_step", training_step)


@pytest.fixture
def text_file(tmp_path):
    def write(content, name="corpus.txt"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def jsonl(path):
    return ["corpus=jsonl", f"corpus.source.path={path}"]


# --- the corpus


def test_no_corpus_is_said(run_here):
    with pytest.raises(MissingMandatoryValue, match=r"value: corpus\.source\.path"):
        run_here(without=["corpus.source.path"])


def test_no_such_file(run_here, tmp_path):
    with pytest.raises(CorpusError, match=r"There is no file at '.*nothing\.txt' .*Give the path"):
        run_here(f"corpus.source.path={tmp_path}/nothing.txt")


def test_no_such_corpus_is_hydras_own_error(run_here):
    with pytest.raises(MissingConfigException, match="corpus/nothing"):
        run_here("corpus=nothing")


@pytest.mark.parametrize("content", [b"", b"\n\n \n\n"], ids=["empty", "blank"])
def test_an_empty_corpus(run_here, text_file, content):
    with pytest.raises(CorpusError, match=r"the corpus is empty. Expected at least one document"):
        run_here(f"corpus.source.path={text_file(content)}")


def test_an_empty_other_corpus(run_here, text_file):
    with pytest.raises(CorpusError, match="the corpus is empty"):
        run_here(f"corpus_other.source.path={text_file(b'')}")


def test_a_single_document_cannot_be_split(run_here, text_file):
    with pytest.raises(CorpusError, match=r"1 documents.*Expected at least 2"):
        run_here(f"corpus.source.path={text_file(b'One text.')}")


def test_documents_that_are_not_text(run_here, text_file):
    path = text_file(b'{"text": "One."}\n{"text": 2}\n', "numbers.jsonl")
    with pytest.raises(CorpusError, match=r"numbers\.jsonl:2: expected text \(str\), found int: 2"):
        run_here(*jsonl(path))


def test_a_file_that_is_not_text(run_here, text_file):
    path = text_file(b"caf\xe9\n\nand more", "latin.txt")
    with pytest.raises(CorpusError, match=r"latin\.txt:1: not UTF-8: byte 0xe9 at position 3"):
        run_here(f"corpus.source.path={path}")


def test_a_lone_surrogate(run_here, text_file):
    path = text_file(b'{"text": "One."}\n{"text": "half: \\ud83d"}\n', "half.jsonl")
    message = r"half\.jsonl:2: the text has a lone surrogate \(U\+D83D\) at character 6"
    with pytest.raises(CorpusError, match=message):
        run_here(*jsonl(path))


BAD_ROWS = [
    b'{"text": 2}',
    b'{"text": "half: \\ud83d"}',
    b'{"text": "caf\xe9"}',
    b'{"text": ',
    b'{"body": "One."}',
]


@pytest.mark.parametrize("windows", ["all", "first", "cached", "stream"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_documents_are_skipped_and_counted(
    run_here, text_file, tmp_path, monkeypatch, caplog, windows, num_workers
):
    monkeypatch.setattr(DistillModule, "training_step", TRAINING_STEP)
    good = [b'{"text": "The quick brown fox number %d."}' % number for number in range(40)]
    path = text_file(b"\n".join([*good[:20], *BAD_ROWS, *good[20:]]), "mixed.jsonl")
    with caplog.at_level(logging.WARNING):
        summary = run_here(
            *jsonl(path),
            "on_bad_document=skip",
            "budget.steps=2",
            f"windows={windows}",
            f"num_workers={num_workers}",
            f"cache_dir={tmp_path}/cache",
        )
    assert summary["steps"] == 2
    counts = {"not text": 1, "lone surrogate": 1, "not UTF-8": 1, "not JSON": 1, "no column": 1}
    assert summary["bad_documents"] == counts
    messages = [record.getMessage() for record in caplog.records]
    assert any("mixed.jsonl:21: expected text (str), found int: 2" in m for m in messages)
    assert any(m.startswith("documents left out as bad: 5 (not text 1, ") for m in messages)


@pytest.mark.parametrize("windows", ["all", "first", "cached", "stream"])
def test_a_bad_document_ends_the_run_unless_it_is_skipped(run_here, text_file, tmp_path, windows):
    path = text_file(b'{"text": "One."}\n' * 9 + b'{"text": 2}\n', "numbers.jsonl")
    with pytest.raises(BadDocument, match=r"numbers\.jsonl:10: expected text"):
        run_here(*jsonl(path), f"windows={windows}", f"cache_dir={tmp_path}/cache")


# --- the configuration


def test_an_unknown_experiment_is_hydras_own_error(run_here):
    with pytest.raises(MissingConfigException, match="experiment/gemma_to_bits"):
        run_here("experiment=gemma_to_bits")


def test_an_unknown_key_is_hydras_own_error(run_here):
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'budget\.stepz'"):
        run_here("budget.stepz=3")


@pytest.mark.parametrize("temperature", ["0", "-1", "nan", "-inf"])
def test_a_temperature_that_is_none(run_here, temperature):
    with pytest.raises(InstantiationException, match=r"objective\.alm\.temperature is .*above 0"):
        run_here(f"objective.alm.temperature={temperature}")


@pytest.mark.parametrize("threshold", ["-0.1", "1", "1.5", "nan"])
def test_a_threshold_outside_of_its_range(run_here, threshold):
    with pytest.raises(InstantiationException, match=r"objective\.alm\.threshold is .*\[0, 1\)"):
        run_here(f"objective.alm.threshold={threshold}")


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_length_without_room_for_text(run_here, side):
    with pytest.raises(ValueError, match=r"leave no room for text.*Raise budget\.student_length"):
        run_here(f"budget.{side}_length=2")


@pytest.mark.parametrize("windows", ["all", "first", "cached", "stream"])
def test_a_length_below_every_chunk(run_here, tmp_path, windows):
    with pytest.raises(ValueError, match=r"gave no window.*Raise budget\.student_length"):
        run_here(
            "budget.student_length=3",
            "alignment=whitespace",
            f"windows={windows}",
            f"cache_dir={tmp_path}/cache",
        )


def test_an_unknown_policy_for_bad_documents(run_here):
    with pytest.raises(
        ValueError, match="on_bad_document is 'ignore': expected one of error, skip"
    ):
        run_here("on_bad_document=ignore")


def test_a_stream_without_anything_held_out(run_here):
    with pytest.raises(CorpusError, match=r"0 are held out by.*Change corpus\.heldout_share, give"):
        run_here("windows=stream", "corpus.heldout_share=1e-9")


def test_fixed_weights_that_a_term_lacks(run_here):
    with pytest.raises(ValueError, match=r"give a weight for \['hidden_states'\]"):
        run_here("balance=fixed", "~balance.weights.hidden_states")


# --- the models


@pytest.fixture
def nothing_read(monkeypatch):
    """Fails a test whose run comes as far as the corpus."""

    def read(*arguments):
        pytest.fail("the corpus was read")

    monkeypatch.setattr("alm_lightning.distillation.data.DataPlan.read", read)


@pytest.mark.parametrize(
    ("key", "side"),
    [
        ("student.source.path", "student"),
        ("teacher.source={_target_: alm_lightning.models.weights.sources.Folder, path", "teacher"),
        ("tokenizer.source.path", "tokenizer"),
    ],
)
def test_no_such_model(run_here, tmp_path, nothing_read, key, side):
    given = [f"{key}: {tmp_path}/nowhere}}" if "{" in key else f"{key}={tmp_path}/nowhere"]
    if side == "tokenizer":
        given = ["tokenizer=folder", "embeddings=fvt", "objective=alm_next_token", *given]
    with pytest.raises(OSError, match=rf"{side}: nothing to load: there is no f.*nowhere"):
        run_here(*given)


def test_a_checkpoint_of_nobody(run_here, tmp_path, nothing_read):
    torch.save({"state_dict": {}}, tmp_path / "weights.ckpt")
    with pytest.raises(ValueError, match=r"weights.ckpt \(ckpt_path\) has no settings of a run"):
        run_here(f"ckpt_path={tmp_path}/weights.ckpt")


@pytest.mark.parametrize("kept", [0, 100, -100])
def test_a_checkpoint_that_was_cut_off(run_here, tmp_path, nothing_read, kept):
    path = tmp_path / "half.ckpt"
    torch.save({"config": {"seed": 5}, "weights": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"half.ckpt \(ckpt_path\) can't be read as a checkpoint"):
        run_here(f"ckpt_path={path}")


def test_a_checkpoint_of_another_run(run_here, tmp_path, nothing_read):
    torch.save({"config": {"seed": 5}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"(?s)with other settings.*seed: 5 then.*tokenizer=own"):
        run_here(f"ckpt_path={tmp_path}/other.ckpt")


@pytest.fixture
def swapped(model_folder, tmp_path, byte_level_tokenizer):
    """The tiny model with a tokenizer that has more entries than the model has rows."""
    folder = tmp_path / "swapped"
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    model.resize_token_embeddings(len(byte_level_tokenizer) - 1)
    model.save_pretrained(folder)
    byte_level_tokenizer.save_pretrained(folder)
    return folder


def test_a_tokenizer_with_more_entries_than_rows(run_here, swapped):
    with pytest.raises(ValueError, match=r"has 340 entries, but its model has only 339 embedding"):
        run_here(f"student.source.path={swapped}")


def test_a_teacher_with_a_foreign_tokenizer_of_more_entries(run_here, swapped):
    message = r"tokenizer of tiny teacher has 340 entries.*Load both from one source and revision"
    with pytest.raises(ValueError, match=message):
        run_here(
            "teacher.name=tiny teacher",
            "teacher.source={_target_: alm_lightning.models.weights.sources.Folder, "
            f"path: {swapped}}}",
        )


def test_weights_whose_hash_is_wrong(run_here, tmp_path, monkeypatch):
    package = tmp_path / "tiny_weights/data"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "weights.part00").write_bytes(b"not what was published")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"has SHA-256 \w+, expected 0000.*Reinstall"):
        run_here(
            "student=gemma3_270m",
            "student.source.sources.package.name=tiny",
            "student.source.sources.package.parts=[tiny_weights/data/weights.part00]",
            f"student.source.sources.package.sha256={'0' * 64}",
            without=["student.source.path"],
        )


# --- the output


def test_a_disk_that_is_full_at_export(run_here, monkeypatch, tmp_path):
    def fail(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DistillModule, "training_step", TRAINING_STEP)
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", fail)
    with pytest.raises(OSError, match=r"no space left on the disk .* Free some space") as caught:
        run_here("budget.steps=1")
    assert caught.value.errno == errno.ENOSPC
    # what was trained is not lost, and no half of a model is left
    assert (tmp_path / "checkpoints/last.ckpt").is_file()
    assert not [path for path in tmp_path.iterdir() if "model" in path.name]


def test_an_export_folder_that_exists(run_here, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(FileExistsError, match="model exists"):
        run_here()
