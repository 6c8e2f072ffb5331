import dataclasses

import pytest

from alm_lightning.training.teacher_sides import TeacherSides


@pytest.fixture
def asked(scorers):
    """A teacher that counts how often it is asked."""
    _, teacher = scorers

    class Counting(type(teacher)):
        def __call__(self, batch, tokens):
            times.append(batch)
            return super().__call__(batch, tokens)

    times = []
    values = {
        field.name: getattr(teacher, field.name)
        for field in dataclasses.fields(teacher)
        if field.init
    }
    return Counting(**values), times


def test_the_teacher_is_asked_once_for_each_batch(asked, collator, rows):
    teacher, times = asked
    sides, data = TeacherSides(teacher), object()
    batches = [part for start in (0, 1) for part in collator(rows[start : start + 2])]
    assert len(batches) == 2
    for _ in range(3):
        sides.keep_for(data)
        for place, batch in enumerate(batches):
            found = sides(batch, (0, place))
            expected = teacher.__class__.__mro__[1].__call__(teacher, batch, batch.teacher)
            assert found.token_logprobs.equal(expected.token_logprobs)
            assert found.chunk_logprobs.equal(expected.chunk_logprobs)
    assert len(times) == 2


def test_what_was_said_of_other_data_is_forgotten(asked, collator, rows):
    teacher, times = asked
    sides = TeacherSides(teacher)
    (first,), (second,) = collator(rows[:2]), collator(rows[1:3])
    sides.keep_for(data := object())
    sides(first, 0)
    # not the same object, though it is equal
    sides.keep_for([data])
    assert sides(second, 0).token_logprobs.shape == second.teacher.ids.shape
    assert times == [first, second]
