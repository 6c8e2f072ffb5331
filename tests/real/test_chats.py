"""A chat of four turns under real tokenizers, each in its own format."""

import itertools

import numpy as np
import pytest
from tests.real_tokenizers import real_view
from tests.unit.alignment.chat.test_messages import FOUR_TURNS, rows
from tokenizers import Tokenizer

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.alignment.chat.turns import turns_of
from alm_lightning.corpus.chat import Chat
from alm_lightning.tokenization.chat.choice import template_of

pytestmark = pytest.mark.slow

STOPS = {
    "smollm2": "<|im_end|>",
    "qwen2_5": "<|im_end|>",
    "qwen3_5": "<|im_end|>",
    "gemma3": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "mistral_v3": "</s>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "bytes": "<eos>",
}
NAMES = tuple(STOPS)
ENDS_WITH_LINE = {"smollm2", "qwen2_5", "qwen3_5", "gemma3"}


@pytest.mark.parametrize("pair", list(itertools.permutations(NAMES, 2)))
def test_four_turns(pair):
    student, teacher = map(real_view, pair)
    aligned = align_messages(rows(FOUR_TURNS), student=student, teacher=teacher)
    assert aligned.coverage == 1.0
    assert not any(aligned.outside_bytes.values())
    assert aligned.rewritten_bytes == 0
    # four headers and four ends; Mistral has nothing but a dummy space before an answer, and
    # DeepSeek one mark between a question and its answer
    num_pairs = (6 if {"mistral_v3", "deepseek"} & set(pair) else 8) + (set(pair) <= ENDS_WITH_LINE)
    assert aligned.is_structure.sum() == num_pairs
    spoken = [aligned.chunk_bytes(chunk) for chunk in np.flatnonzero(aligned.trained).tolist()]
    answers = [content.encode() for role, content in FOUR_TURNS if role == "assistant"]
    assert b"".join(spoken) == b"".join(answers)
    # what ends an answer is trained on, as a chunk and as a student token
    ends = np.flatnonzero(aligned.trained & aligned.is_structure)
    assert len(ends) == 2
    stops = aligned.student_ids[aligned.student_ends[ends] - 1].tolist()
    assert stops == [student.special_ids[STOPS[pair[0]]]] * 2
    assert aligned.student_trained[aligned.student_ends[ends] - 1].all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bytes"])
def test_ids_are_those_of_the_whole_rendering(name):
    view = real_view(name)
    messages = [
        ("system", "Be brief.\n\nPlease."),
        ("user", "Hello, who are you?\n"),
        ("assistant", "\tI am a model.\n\n1. Größe 日本語 👩‍👩‍👧‍👦\n2. [x](y) <b>"),
        ("user", "def f(x):\n    return x"),
        ("assistant", "Six."),
    ]
    chat = Chat.of(rows(messages), "chat")
    template = template_of(view, None)
    # a copy that parses special tokens everywhere, as in training
    raw = Tokenizer.from_str(view.hf.backend_tokenizer.to_str())
    expected = raw.encode(template.write(chat.messages), add_special_tokens=False).ids
    assert turns_of(view, template.render(chat), "chat").ids.tolist() == expected
