from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import tiny_gemma3
from tokenizers import Tokenizer
from tokenizers.processors import Sequence
from transformers import PreTrainedTokenizerFast

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.examples import Pairing
from alm_lightning.models.pair import Scorer
from alm_lightning.models.vocabulary import BytesFromOldTokens
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.bytes.view import byte_view_like
from alm_lightning.tokenization.fast import view_of


def test_structure(scorers, collator, rows):
    student, teacher = scorers
    batch = collator.batch(rows)
    for side, view in (("student", student.view), ("teacher", teacher.view)):
        tokens = getattr(batch, side)
        ids, mask, chunk_ids = tokens.ids, tokens.mask, tokens.chunk_ids
        content = batch.content_of(tokens)
        assert (ids[:, 0] == view.id_of("bos")).all()
        assert (chunk_ids[:, 0] == NO_CHUNK).all()
        assert not content[:, 0].any()
        for index, row in enumerate(rows):
            length = int(mask[index].sum())
            # plain texts: all chunks are content
            own = getattr(row, side).chunk_ids != NO_CHUNK
            assert (content[index, 1 : 1 + len(own)].numpy() == own).all()
            assert content[index].sum() == own.sum()
            last = int(ids[index, length - 1])
            assert (last == view.id_of("eos")) == row.ends_document
            assert (ids[index, length:] == view.id_of("pad")).all()
            assert (chunk_ids[index, length:] == NO_CHUNK).all()
            # the EOS of both sides is the last chunk: a student must learn to stop
            assert int(chunk_ids[index, length - 1]) == int(batch.chunk_mask[index].sum()) - 1
    assert batch.chunk_is_structure.sum() == sum(row.ends_document for row in rows)
    assert batch.num_bytes.tolist() == [row.num_bytes for row in rows]


def test_micro_batches_hold_all_rows(scorers, rows):
    student, teacher = scorers
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    batches = collator(rows)
    assert [len(batch.num_bytes) for batch in batches][:-1] == [2] * (len(batches) - 1)
    # rows of like length lie together, the longest first
    found = [
        (int(s), int(t), int(n))
        for b in batches
        for s, t, n in zip(b.student.mask.sum(1), b.teacher.mask.sum(1), b.num_bytes, strict=True)
    ]
    expected = [
        (len(r.student.ids) + e, len(r.teacher.ids) + e, r.num_bytes)
        for r in rows
        for e in (1 + r.ends_document,)
    ]
    assert sorted(found) == sorted(expected)
    longest = [max(student, teacher) for student, teacher, _ in found]
    assert longest == sorted(longest, reverse=True)
    assert collator([]) == []
    with pytest.raises(ValueError, match="at least 1 row"):
        Collator(student=student.view, teacher=teacher.view, micro_batch_size=0)


def test_a_window_with_its_own_start(scorers, collator, rows):
    """The first window of a chat: nothing is put around it; its first token is given."""
    chat = replace(rows[0], opens=False, ends_document=False)
    batch = collator.batch([chat, rows[0]])
    sides = ((batch.student, chat.student), (batch.teacher, chat.teacher))
    for scorer, (tokens, of_chat) in zip(scorers, sides, strict=True):
        ids, own = tokens.ids, torch.from_numpy(of_chat.ids)
        assert torch.equal(ids[0, : len(own)], own.long())
        assert torch.equal(ids[1, 1 : 1 + len(own)], own.long())
        assert tokens.mask[0].sum() == len(own)
        logprobs = scorer(batch, tokens).token_logprobs[0, : len(own)]
        assert logprobs[0] == 0.0
        assert (logprobs[1:] < 0).all()
    targets = batch.student_targets
    assert targets[0].tolist()[:2] == [False, True]
    assert targets[0].sum() == len(chat.student.ids) - 1
    assert targets[1].sum() == len(chat.student.ids) + rows[0].ends_document


def test_what_is_not_trained_is_read_and_not_predicted(collator, rows):
    targets = np.arange(len(rows[0].student.ids)) % 3 == 0
    ends_run = np.arange(rows[0].num_chunks) == rows[0].num_chunks - 1
    row = replace(rows[0], student_targets=targets, ends_document=True, chunk_ends_run=ends_run)
    batch = collator.batch([row])
    assert batch.student_targets[0].tolist() == [False, *targets.tolist(), True]
    # an EOS comes right after the last chunk: the two may be merged
    assert batch.chunk_ends_run[0].tolist() == [False] * row.num_chunks + [True]
    chunk_ids = np.append(row.student.chunk_ids[:-1], np.int32(NO_CHUNK))
    cut = replace(row, student=replace(row.student, chunk_ids=chunk_ids))
    batch = collator.batch([cut])
    assert batch.chunk_ends_run[0].tolist()[-2:] == [True, True]


def test_to_moves_every_tensor(collator, rows):
    moved = collator.batch(rows).to(torch.device("meta"))
    values = [vars(part).values() for part in (moved, moved.student, moved.teacher)]
    tensors = [value for part in values for value in part if isinstance(value, torch.Tensor)]
    assert len(tensors) == 16
    assert all(tensor.is_meta for tensor in tensors)


def without(tokenizer, *roles):
    """A tokenizer that prepends nothing, and lacks some roles."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = Sequence([])
    names = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}
    kept = {f"{role}_token": name for role, name in names.items() if role not in roles}
    return view_of(PreTrainedTokenizerFast(tokenizer_object=backend, **kept), name="bare")


@pytest.mark.parametrize("roles", [(), ("bos",), ("pad",), ("bos", "pad")])
def test_a_tokenizer_without_bos_or_pad(byte_level_tokenizer, roles):
    """Its EOS plays their parts: the first token has a likelihood, and padding is told by masks."""
    teacher = without(byte_level_tokenizer, *roles)
    student = byte_view_like(teacher, keep=["<end_of_turn>"])
    pairing = Pairing(
        student=student,
        teacher=teacher,
        alignment=Finest(),
        student_length=64,
        teacher_length=64,
    )
    rows = [
        w for text in ("The dog.", "A longer fox") for w in pairing.windows(Document(text, "d"))
    ]
    batch = Collator(student=student, teacher=teacher, micro_batch_size=4).batch(rows)
    assert (batch.teacher.ids[:, 0] == teacher.id_of("eos")).all()
    assert (batch.teacher.chunk_ids[:, 0] == NO_CHUNK).all()
    assert (batch.teacher.chunk_ids[:, 1] == 0).all()
    for side, view in (("student", student), ("teacher", teacher)):
        # an EOS that is the pad token as well is trained on all the same
        lengths = getattr(batch, side).mask.sum(dim=1)
        last = getattr(batch, side).ids[torch.arange(2), lengths - 1]
        assert (last == view.id_of("eos")).all()
        chunk_of_last = getattr(batch, side).chunk_ids[torch.arange(2), lengths - 1]
        assert (chunk_of_last == batch.chunk_mask.sum(dim=1) - 1).all()
    model = tiny_gemma3(teacher.num_tokens)
    built = BytesFromOldTokens(expansion=True, train_expansion=False, dtype=torch.float32)(
        model, old=teacher, new=student
    )
    signal = Scorer(built, student)(batch, batch.student)
    assert (signal.chunk_logprobs[batch.chunk_mask] < 0).all()
    if student.id_of("pad") == student.id_of("bos"):
        signal.token_logprobs.sum().backward()
        assert built.get_input_embeddings().weight.grad[student.id_of("eos")].any()
