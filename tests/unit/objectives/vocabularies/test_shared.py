"""Which tokens of two vocabularies are one."""

import numpy as np
import torch

from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.objectives.vocabularies.shared import SharedVocabulary, shared_ids, special_pairs
from alm_lightning.tokenization.bytes.view import byte_view


def roles(eos):
    return {"bos": "<bos>", "eos": eos, "pad": "<pad>"}


CHATML = roles("<|im_end|>")


def test_what_ends_a_turn_is_the_eos_of_a_chat_model_and_not_of_a_base_model():
    """Gemma's base model has <eos> and <end_of_turn>; ChatML's EOS is what ends its turns."""
    gemma = byte_view(other_specials=["<start_of_turn>", "<end_of_turn>"])
    chatml = byte_view(CHATML, other_specials=["<|im_start|>", "<|endoftext|>"])
    assert gemma.end_of_turn_id == gemma.special_ids["<end_of_turn>"]
    assert chatml.end_of_turn_id == chatml.id_of("eos")
    pairs = special_pairs(gemma, chatml)
    assert pairs[gemma.end_of_turn_id] == chatml.id_of("eos")
    assert gemma.id_of("eos") not in pairs
    assert special_pairs(chatml, gemma)[chatml.id_of("eos")] == gemma.end_of_turn_id


def test_tokens_of_one_text_are_one_before_roles_count():
    student = byte_view(roles("<stop>"), other_specials=["<mark>"])
    teacher = byte_view(roles("<end>"), other_specials=["<mark>", "<stop>"])
    pairs = special_pairs(student, teacher)
    assert pairs[student.special_ids["<mark>"]] == teacher.special_ids["<mark>"]
    assert pairs[student.special_ids["<stop>"]] == teacher.special_ids["<stop>"]
    assert teacher.id_of("eos") not in pairs.values()


def test_eos_is_eos_where_nothing_else_is_known():
    student, teacher = byte_view(roles("<a>")), byte_view(roles("<b>"))
    assert special_pairs(student, teacher)[student.id_of("eos")] == teacher.id_of("eos")
    ids = shared_ids(PairFacts(SideFacts(student, 4, 4), SideFacts(teacher, 4, 4)))
    assert len(ids[0]) == 256 + len(special_pairs(student, teacher))


def test_of_one_vocabulary_all_ids_are_shared_and_no_column_is_copied(metaspace_view):
    side = SideFacts(metaspace_view, 4, 4)
    shared = SharedVocabulary(*shared_ids(PairFacts(side, side)))
    num_tokens = metaspace_view.num_tokens
    # byte-fallback tokens too, whose bytes an ordinary token has as well
    ordinary = {
        b for i, b in enumerate(metaspace_view.token_bytes) if i not in metaspace_view.fallback_ids
    }
    assert any(metaspace_view.token_bytes[i] in ordinary for i in metaspace_view.fallback_ids)
    assert shared.student.tolist() == shared.teacher.tolist() == list(range(num_tokens))
    values = torch.rand(2, num_tokens)
    assert shared.of_student(values) is values
    assert shared.of_teacher(values) is values


def test_columns_of_the_shared_tokens():
    shared = SharedVocabulary(np.array([0, 1]), np.array([2, 0]))
    values = torch.tensor([[1.0, 2.0, 3.0]])
    assert shared.of_student(values).tolist() == [[1.0, 2.0]]
    assert shared.of_teacher(values).tolist() == [[3.0, 1.0]]
    # the first tokens of both sides, but not all that a side has
    first = SharedVocabulary(np.array([0, 1]), np.array([0, 1]))
    assert first.of_student(values).tolist() == [[1.0, 2.0]]


def test_whether_two_tokens_are_one():
    shared = SharedVocabulary(np.array([1, 3]), np.array([7, 2]))
    ours, theirs = torch.tensor([1, 3, 1, 0, 9, 3]), torch.tensor([7, 2, 2, 7, 2, 7])
    assert shared.same(ours, theirs).tolist() == [True, True, False, False, False, False]
    nothing = SharedVocabulary(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    assert nothing.same(ours, theirs).tolist() == [False] * 6
