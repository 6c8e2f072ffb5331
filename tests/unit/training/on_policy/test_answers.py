"""The student's own answers in the batches of a step."""

import numpy as np
import pytest
import torch
from tests.invariant.test_distribution_step import OBJECTIVES
from tests.objective_cases import signal_of
from tests.unit.training.on_policy.engines.test_transformers import logprobs_of
from tests.unit.training.on_policy.own import (
    CHATS,
    TEXTS,
    own_answers,
    pairing_of,
    prompts_of,
    settings,
)

from alm_lightning.alignment.answer import Answer
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.packing import FirstFit
from alm_lightning.data.regroup import joined, windows_in
from alm_lightning.objectives.policy_gradient import PolicyGradient
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.training.on_policy import Prompts


@pytest.fixture
def batches(collator, rows):
    collator.micro_batch_size = 3
    return collator(rows[:4])


@pytest.mark.parametrize("documents", [TEXTS, CHATS], ids=["texts", "chats"])
def test_likelihoods_are_those_of_what_was_sampled(scorers, collator, batches, documents):
    student, teacher = scorers
    own = own_answers(scorers, collator, documents, share=1.0)
    own._sample(0)
    sampled = list(own._sampled[0])
    assert len(sampled) == 4
    windows = [own.window(place, answer) for place, answer in sampled]
    assert all(window is not None for window in windows)
    for (place, answer), window in zip(sampled, windows, strict=True):
        asked = own.prompts.asked(place)
        usable = answer.usable(student.view)
        batch = collator.batch([window])
        found = student(batch, batch.student).token_logprobs[0]
        first = len(asked.ids)
        assert batch.student.ids[0, :first].tolist() == asked.ids.tolist()
        ids = [*usable.ids.tolist()]
        assert batch.student.ids[0, first : first + len(ids)].tolist() == ids
        read = (batch.student.chunk_ids[0] != NO_CHUNK).tolist()
        for number, index in enumerate(ids):
            expected = logprobs_of(student, [*asked.ids.tolist(), *ids[:number]])[index]
            if read[first + number]:
                assert found[first + number].item() == pytest.approx(expected.item(), abs=1e-4)
        # the teacher reads the same bytes
        spelled = teacher.view.table.spelled(window.teacher.ids).tobytes()
        assert student.view.table.spelled(usable.ids).tobytes() in spelled
        # chunks hold the answer alone, but for the end where it is cut
        trained = window.student.chunk_ids >= 0
        assert not trained[: len(asked.window_ids)].any()
        assert trained[len(asked.window_ids) :].any()


def rows_in(batches):
    """The tokens of each row on both sides, and whether the student has said it."""
    return [
        (
            tuple(batch.student.ids[row][batch.student.mask[row]].tolist()),
            tuple(batch.teacher.ids[row][batch.teacher.mask[row]].tolist()),
            bool(batch.own_rows[row]),
        )
        for batch in batches
        for row in range(len(batch.num_bytes))
    ]


def test_rows_give_way_and_answers_are_no_targets(scorers, collator, batches):
    own = own_answers(scorers, collator, share=0.5)
    assert [len(batch.num_bytes) for batch in batches] == [3, 1]
    mixed = own.mixed(batches, 0)
    # as many micro-batches as before
    assert [len(batch.num_bytes) for batch in mixed] == [3, 1]
    found = rows_in(mixed)
    assert sum(is_own for *_, is_own in found) == 2
    assert {row for row in found if not row[2]} < {*rows_in(batches)}
    for batch in mixed:
        assert not batch.student_targets[batch.own_rows].any()
        assert batch.student_targets[~batch.own_rows].any() or batch.own_rows.all()
    assert own.counts.num_answers == 2
    assert 0 <= own.counts.num_ended <= 2


def test_which_rows_give_way_is_drawn(scorers, collator, batches):
    own = own_answers(scorers, collator, share=0.25, num_steps=200)
    kept = np.zeros(4)
    every = rows_in(batches)
    for step in range(100):
        stays = {*rows_in(own._kept(joined(batches), step))}
        kept += [row in stays for row in every]
    assert (kept > 55).all()
    assert kept.sum() == 300


def test_a_share_of_less_than_a_row_is_right_in_the_mean(scorers, collator):
    own = own_answers(scorers, collator, share=0.1, num_steps=1000)
    numbers = [own._number(step, 4) for step in range(1000)]
    assert {*numbers} == {0, 1}
    assert 330 < sum(numbers) < 470
    # all processes have as many in a step
    other = own_answers(scorers, collator, share=0.1, num_steps=1000)
    other.rank = 3
    assert [other._number(step, 4) for step in range(1000)] == numbers


def test_answers_are_no_older_than_they_may_be(scorers, collator, batches):
    own = own_answers(scorers, collator, share=0.5, every=3)
    calls = []
    engine = own.engine

    def counted(prompts, *, seed):
        calls.append((len(prompts), seed))
        return engine(prompts, seed=seed)

    own.engine = counted
    for step in range(7):
        own.mixed(batches, step)
    # for steps 0 to 2, 3 to 5, and 6 to 8
    assert [number for number, _ in calls] == [6, 6, 6]
    assert len({seed for _, seed in calls}) == 3
    assert sorted(own._sampled) == [7, 8]


def test_a_run_that_goes_on_has_the_same_answers(scorers, collator, batches):
    own, again = (own_answers(scorers, collator, share=0.5, every=3) for _ in range(2))
    own.mixed(batches, 0)
    states = own.states()
    again.load_states(states, 0)
    with torch.no_grad():
        # weights that have moved on: what was sampled before stays
        for parameter in scorers[0].model.parameters():
            parameter.mul_(1.1)
    one, two = own.mixed(batches, 1), again.mixed(batches, 1)
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first.student.ids, second.student.ids)
        assert torch.equal(first.teacher.chunk_ids, second.teacher.chunk_ids)


def test_states_of_other_processes_are_sampled_again(scorers, collator, batches, caplog):
    own = own_answers(scorers, collator, share=0.5)
    own.load_states([{}, {}], 0)
    assert "answers of 2 processes, and this run has 1" in caplog.text
    assert len(own.mixed(batches, 0)) > 0


def test_a_share_of_0_changes_nothing(scorers, collator, batches):
    own = own_answers(scorers, collator, share=0.5, begins=0.5)
    assert own.mixed(batches, 3) == batches
    assert own.mixed([], 9) == []


def test_a_packed_step_is_answered_too(scorers, collator, rows, packed_collator):
    batches = packed_collator(rows)
    own = own_answers(
        scorers, packed_collator, share=0.5, batch_size=len(rows), num_steps=200, every=1
    )
    mixed = own.mixed(batches, 0)
    assert all(batch.is_packed for batch in mixed)
    assert own.counts.num_answers in (len(rows) // 2, len(rows) // 2 + 1)
    # windows that go are as many as answers that come, in the mean
    left = [
        sum(int(windows_in(batch).sum()) for batch in own._kept(joined(batches), step))
        for step in range(100)
    ]
    assert np.mean(left) == pytest.approx(len(rows) / 2, abs=0.7)


def test_answers_that_are_no_text_are_said(scorers, collator, batches, caplog):
    own = own_answers(scorers, collator, share=1.0)
    own.engine = lambda prompts, *, seed: [Answer(np.array([0xFF]), None) for _ in prompts]
    assert own.mixed(batches, 0) == []
    assert "of 4 answers of step 0 none can be learned from" in caplog.text
    assert own.counts.num_unusable == 4


@pytest.mark.parametrize("name", [*OBJECTIVES, "policy_gradient"])
def test_every_objective_learns_from_answers(scorers, collator, batches, name):
    """Also one that is taught where the next-token loss is, of which answers have nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # nearly uniform ones differ from each other by the same sign everywhere
        for parameter in (p for each in scorers for p in each.model.parameters()):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    own = own_answers(scorers, collator, share=1.0)
    batch = own.mixed(batches, 0)[0]
    assert batch.own_rows.all()
    of_policy = {"policy_gradient": lambda: PolicyGradient(threshold=0.1, debias=True)}
    term = (OBJECTIVES | of_policy)[name]()
    student, teacher = scorers
    widths = [each.model.config.hidden_size for each in scorers]
    facts = [
        SideFacts(s.view, width, width) for s, width in zip((student, teacher), widths, strict=True)
    ]
    term.setup(PairFacts(*facts))
    sides = [
        scorer(batch, tokens, keep_hidden=True, keep_distributions=True)
        for scorer, tokens in ((student, batch.student), (teacher, batch.teacher))
    ]
    signal = signal_of(batch, *sides)
    assert term.weight(signal) > 0
    parameters = [p for p in student.model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(term(signal), parameters, allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in gradients)


def test_an_answer_that_is_too_long_for_the_teacher_is_said(scorers, collator, caplog):
    student, _ = scorers
    prompts = prompts_of(scorers)
    own = own_answers(scorers, collator, share=1.0)
    asked = prompts.asked(0)
    length = len(asked.align(Answer(asked.ids[:0], None), alignment=None).teacher_ids)
    own.prompts.pairing = pairing_of(scorers)
    own.prompts.pairing.teacher_length = length + 2
    said = np.frombuffer(b"jumps over it", np.uint8).astype(np.int64)
    answer = Answer(said, student.view.id_of("eos"))
    window = own.window(0, answer)
    assert window is not None
    assert not window.ends_document
    for _ in range(2):
        own.window(0, answer)
    assert caplog.text.count("its end is not learned from. Raise it") == 1


@pytest.fixture
def packed_collator(scorers):
    student, teacher = scorers
    packing = FirstFit(student_length=96, teacher_length=96)
    return Collator(student=student.view, teacher=teacher.view, micro_batch_size=2, packing=packing)


def test_few_documents_that_fit_are_enough(scorers):
    """One of a thousand: a draw goes on until it has it, and one that does not fit stays out."""
    long = [Chat.of([{"role": "user", "content": "a" * 300}], "long")] * 999
    prompts = prompts_of(scorers, [*long, CHATS[0]])
    generator = np.random.default_rng(3)
    assert {prompts.draw(generator) for _ in range(50)} == {999}
    # what was looked at before does not change what is drawn
    mixed = [*CHATS, *long[:20]]
    one, two = prompts_of(scorers, mixed), prompts_of(scorers, mixed)
    warm = np.random.default_rng(1)
    for _ in range(30):
        one.draw(warm)
    generators = [np.random.default_rng(5) for _ in range(2)]
    found = [[p.draw(g) for _ in range(40)] for p, g in zip((one, two), generators, strict=True)]
    assert found[0] == found[1]
    assert {*found[0]} == {*range(len(CHATS))}


def test_prompts_leave_room_for_the_teacher_too(scorers):
    prompts = prompts_of(scorers, CHATS)
    asked = prompts.asked(0)
    nothing = asked.align(Answer(asked.ids[:0], None), alignment=None)
    ours, theirs = len(asked.ids), len(nothing.teacher_ids)
    room = settings().max_new_tokens * theirs / ours
    for length, fits in ((theirs + int(np.ceil(room)), True), (theirs + int(room) - 1, False)):
        prompts.pairing = pairing_of(scorers)
        prompts.pairing.teacher_length = length
        assert prompts._fits(0) is fits


def test_documents_without_a_prompt_are_refused(scorers):
    long = [Chat.of([{"role": "user", "content": "a" * 300}], "long")] * 3
    with pytest.raises(ValueError, match="none gives a prompt of at most 86 student tokens"):
        prompts_of(scorers, long)
    unasked = [Chat.of([{"role": "assistant", "content": "a"}], "unasked")] * 3
    with pytest.raises(ValueError, match="none gives a prompt of at most"):
        prompts_of(scorers, unasked)
    with pytest.raises(ValueError, match="none gives a prompt"):
        prompts_of(scorers, [])
    with pytest.raises(ValueError, match="none gives a prompt"):
        # nothing of it is left to say
        prompts_of(scorers, [Document("Short.", name="short")] * 3)
    assert isinstance(prompts_of(scorers, [*unasked, CHATS[0]]), Prompts)
