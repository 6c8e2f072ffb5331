"""Rows of embeddings that an exported student has."""

import pytest
import torch
from tests.conftest import SENTENCES, tiny_gemma3
from transformers import AutoModelForCausalLM

import alm_lightning as alm

PADDING = 6


@pytest.fixture
def distilled(byte_level_tokenizer, metaspace_tokenizer):
    """A student moved to its teacher's vocabulary, or not."""

    def run(tokenizer, **more):
        torch.manual_seed(0)
        student = tiny_gemma3(len(byte_level_tokenizer) + 2)
        teacher = tiny_gemma3(len(metaspace_tokenizer) + PADDING, hidden_size=48)
        return alm.distill(
            student,
            student_tokenizer=byte_level_tokenizer,
            teacher=teacher,
            teacher_tokenizer=metaspace_tokenizer,
            tokenizer=tokenizer,
            data=SENTENCES * 4,
            objective="alm_next_token",
            steps=2,
            batch_size=2,
            micro_batch_size=2,
            learning_rate=1e-2,
            evaluation_windows=2,
            accelerator="cpu",
            precision="32-true",
            progress=False,
            **more,
        )

    return run


def test_a_student_of_its_teachers_vocabulary_is_saved_with_its_rows(
    distilled, metaspace_view, tmp_path
):
    # `replace` of the command line
    result = distilled(lambda old: metaspace_view, embeddings="fvt")
    count = metaspace_view.num_tokens
    trained = result.student.get_input_embeddings().weight
    assert len(trained) == count
    saved = AutoModelForCausalLM.from_pretrained(result.save(tmp_path / "m", dtype="float32"))
    assert saved.config.vocab_size == count + PADDING
    table = saved.get_output_embeddings().weight
    torch.testing.assert_close(table[:count], trained)
    torch.testing.assert_close(table[count:], trained.mean(0).expand(PADDING, -1))


def test_others_keep_the_rows_that_they_have(distilled, byte_level_tokenizer, tmp_path):
    own = distilled(None)
    assert own.teacher_rows is None
    saved = AutoModelForCausalLM.from_pretrained(own.save(tmp_path / "own"))
    assert saved.config.vocab_size == len(byte_level_tokenizer) + 2
