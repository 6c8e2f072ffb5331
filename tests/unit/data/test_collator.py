import pytest
import torch

from alm_lightning.data.collator import Collator
from alm_lightning.shapes import NO_CHUNK


def test_structure(scorers, collator, rows):
    student, teacher = scorers
    batch = collator.batch(rows)
    for side, view in (("student", student.view), ("teacher", teacher.view)):
        ids, mask = getattr(batch, f"{side}_ids"), getattr(batch, f"{side}_mask")
        chunk_ids, content = getattr(batch, f"{side}_chunk_ids"), getattr(batch, f"{side}_content")
        assert (ids[:, 0] == view.id_of("bos")).all()
        assert (chunk_ids[:, 0] == NO_CHUNK).all()
        assert not content[:, 0].any()
        for index, row in enumerate(rows):
            length = int(mask[index].sum())
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
    assert torch.cat([batch.num_bytes for batch in batches]).tolist() == [r.num_bytes for r in rows]
    with pytest.raises(ValueError, match="at least 1 row"):
        Collator(student=student.view, teacher=teacher.view, micro_batch_size=0)


def test_to_moves_every_tensor(collator, rows):
    moved = collator.batch(rows).to(torch.device("meta"))
    assert all(tensor.is_meta for _, tensor in moved)
