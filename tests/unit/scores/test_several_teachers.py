"""Several stored teachers of one student: the weighted mean of losses, and likelihoods together."""

import copy
import math

import pytest
import torch
from tests.conftest import SENTENCES, tiny_gemma3
from tests.unit.scores.conftest import CUT, EXACT, LENGTH

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.joint import APART, JointPairing
from alm_lightning.data.packing import FirstFit, OnePerRow
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.store import CachedWindows
from alm_lightning.data.teacher_weights import TeacherWeights
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_matrix
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.baselines.bpm import BytePrefix
from alm_lightning.objectives.combine import Fixed, GradMag
from alm_lightning.objectives.each_teacher import OfEachTeacher
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.scores.ensemble import GEOMETRIC, LOSSES, MIXTURE, StoredTeachers, teachers_of
from alm_lightning.scores.local import LocalScorer
from alm_lightning.scores.reader import StoreReader
from alm_lightning.scores.teacher import StoredTeacher
from alm_lightning.tokenization.fast import view_of
from alm_lightning.training.step import DistillStep

GROUPS = ["de", "en"]


def alm():
    return ALM(temperature=5, threshold=0.01, debias=True, divergence="kl")


TERMS = {
    "alm": {"alm": alm, "next_token": NextToken},
    "bytes": {
        "next_byte": lambda: NextByte(end="drop", positions="token_starts", divergence="kl"),
        "hidden_states": lambda: HiddenStates(projection=None, learning_rate=1e-3, fades_by=None),
    },
    "bpm": {"bpm": lambda: BytePrefix(mask_whitespace=True, inside=False)},
}


@pytest.fixture(scope="module")
def models(views, byte_level_tokenizer):
    """A student, and two teachers with other tokenizers, none of them nearly uniform."""
    found = {}
    generator = torch.Generator().manual_seed(1)
    # it has learned to join hardly anything
    shorter = byte_level_tokenizer.train_new_from_iterator(SENTENCES[1:2], 300)
    shorter = view_of(shorter, name="shorter")
    assert shorter.num_tokens < views["byte_level"].num_tokens
    own = {"student": views["byte_level"], "a": views["metaspace"], "b": shorter}
    for name, view in own.items():
        model = tiny_gemma3(view.num_tokens)
        weight = model.get_output_embeddings().weight
        with torch.no_grad():
            weight.mul_(20).add_(torch.randn(weight.shape, generator=generator) * 0.1)
        found[name] = Scorer(model.requires_grad_(name == "student"), view)
    return found


@pytest.fixture
def documents(texts):
    return [
        Document(text.text, name=text.name, group=GROUPS[number % 2])
        for number, text in enumerate(texts)
    ]


@pytest.fixture
def store_of(models, write, documents, chats):
    """A teacher's store of all documents."""

    def make(name):
        teacher = models[name]
        alone = Pairing(
            student=teacher.view,
            teacher=teacher.view,
            alignment=Finest(),
            student_length=LENGTH,
            teacher_length=LENGTH,
            cut_bytes=CUT,
        )
        folder = write(
            [*documents, *chats],
            pairing=alone,
            scorer=LocalScorer(teacher, kinds=EXACT, batch_tokens=200),
            folder=name,
            tokenizer=teacher.view.fingerprint,
            num_tokens=teacher.view.num_tokens,
            hidden_size=teacher.hidden_size,
        )
        return StoredTeacher(StoreReader(folder))

    return make


@pytest.fixture
def pairing(models):
    """How documents become windows of some teachers."""

    def make(teachers, weights=None, combine=LOSSES, length=LENGTH, on_bad=None):
        each = [
            Pairing(
                student=models["student"].view,
                teacher=teacher.view,
                alignment=Finest(),
                student_length=LENGTH,
                teacher_length=length,
                cut_bytes=CUT,
                scores=teacher.store,
                on_bad=on_bad,
            )
            for teacher in teachers
        ]
        if len(each) == 1:
            return each[0]
        chosen = TeacherWeights.of(weights, [str(n) for n in range(len(each))])
        return JointPairing(each, chosen, shares_chunks=combine != LOSSES)

    return make


@pytest.fixture
def batches(models, pairing, documents):
    """The micro-batches of a step."""

    def make(teachers, weights=None, combine=LOSSES, *, chosen=documents, size=4, packed=False):
        made = pairing(teachers, weights, combine)
        first, *others = teachers
        collator = Collator(
            student=models["student"].view,
            teacher=first.view,
            micro_batch_size=size,
            packing=FirstFit(student_length=300, teacher_length=400) if packed else OnePerRow(),
            scores=first.store,
            others=[(other.view, other.store) for other in others],
        )
        return collator([window for document in chosen for window in made.windows(document)])

    return make


@pytest.fixture
def taken(models):
    """A step: losses, gradients, and passes of the student."""

    def run(batches, teachers, made, combine=LOSSES, balance=None):
        student = models["student"]
        model = copy.deepcopy(student.model)
        teaching = teachers[0]
        if len(teachers) > 1:
            labels = tuple(f"teacher {n}" for n in range(len(teachers)))
            weights = TeacherWeights.of(None, labels)
            teaching = StoredTeachers(tuple(teachers), labels, weights, combine)
        each = teachers_of(teaching)
        sides = [SideFacts(t.view, t.hidden_size, t.embedding_size) for t in (student, *each)]
        pairs = [PairFacts(sides[0], side) for side in sides[1:]]
        terms = {}
        for name, make in made.items():
            term = make()
            if len(each) > 1 and term.needs_teacher:
                term = OfEachTeacher(term, len(each))
                term.setup_each(pairs)
            else:
                term.setup(pairs[0])
            terms[name] = term
        chosen = balance or GradMag()
        chosen.setup(list(terms))
        calls = []
        model.model.register_forward_hook(lambda *_: calls.append(1))
        result = DistillStep(
            student=Scorer(model, student.view),
            teacher=teaching,
            terms=terms,
            balance=chosen,
            compared_at=lambda: last_matrix(model),
            reduce=lambda value, op="sum": value,
            backward=lambda loss, exchange: loss.backward(),
            scale=1.0,
        )(batches)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        return result, gradient, len(calls)

    return run


def assert_same_step(ours, theirs, rel=1e-5):
    assert {n: v.item() for n, v in ours[0].losses.items()} == pytest.approx(
        {n: v.item() for n, v in theirs[0].losses.items()}, rel=rel, abs=1e-7
    )
    assert {n: v.item() for n, v in ours[0].balance.items()} == pytest.approx(
        {n: v.item() for n, v in theirs[0].balance.items()}, rel=rel, abs=1e-7
    )
    assert (ours[1] - theirs[1]).norm() < rel * theirs[1].norm()


@pytest.mark.parametrize("weights", [None, [3, 1], {"de": [1, 0], "en": [0.2, 0.5]}])
@pytest.mark.parametrize("name", TERMS)
def test_one_teacher_twice_is_one_teacher(store_of, batches, taken, name, weights):
    teacher = store_of("a")
    alone = taken(batches([teacher]), [teacher], TERMS[name])
    twice = taken(batches([teacher, teacher], weights), [teacher, teacher], TERMS[name])
    assert all(weight > 1 for weight in alone[0].weights.values())
    assert_same_step(twice, alone)


@pytest.mark.parametrize("combine", [MIXTURE, GEOMETRIC])
def test_one_teacher_twice_is_one_ensemble(store_of, batches, taken, combine):
    teacher = store_of("a")
    alone = taken(batches([teacher]), [teacher], TERMS["alm"])
    made = batches([teacher, teacher], [0.3, 0.7], combine)
    assert_same_step(taken(made, [teacher, teacher], TERMS["alm"], combine), alone)


@pytest.mark.parametrize("name", TERMS)
def test_the_weighted_mean_of_losses(store_of, batches, taken, name):
    teachers = [store_of("a"), store_of("b")]
    # a balance that compares nothing: what each teacher alone does adds up
    made = TERMS[name]
    balance = {key: 0.5 + number for number, key in enumerate(made)}
    steps = [
        taken(batches([each]), [each], made, balance=Fixed(weights=balance)) for each in teachers
    ]
    both = taken(batches(teachers, [1, 3]), teachers, made, balance=Fixed(weights=balance))
    for key, loss in both[0].losses.items():
        parts = [step[0].losses[key].item() for step in steps]
        assert loss.item() == pytest.approx(parts[0] / 4 + parts[1] * 3 / 4, rel=1e-5)
        if key == "next_token":
            # the student's alone, counted once
            assert parts[0] == pytest.approx(parts[1], rel=1e-6)
        else:
            assert parts[0] != pytest.approx(parts[1], rel=1e-3)
            ours = both[0].by_teacher[key].tolist()
            assert ours == pytest.approx([parts[0] / 4, parts[1] * 3 / 4], rel=1e-5)
    expected = steps[0][1] / 4 + steps[1][1] * 3 / 4
    assert (both[1] - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("combine", [LOSSES, MIXTURE])
def test_the_student_runs_once_for_all(store_of, batches, taken, combine):
    teachers = [store_of("a"), store_of("b")]
    made = batches(teachers, combine=combine, size=5)
    assert len(made) > 2
    only = {"alm": alm}
    assert taken(made, teachers, only, combine)[2] == len(made)
    # norms of two terms over several micro-batches: once more, as with one teacher
    assert taken(made, teachers, TERMS["alm"], combine)[2] == 2 * len(made)
    alone = batches(teachers[:1], size=5)
    assert taken(alone, teachers[:1], TERMS["alm"])[2] == 2 * len(alone)


@pytest.mark.parametrize("combine", [LOSSES, MIXTURE])
@pytest.mark.parametrize("weights", [[1, 3], {"de": [1, 0], "en": [1, 1]}])
def test_packing_and_accumulation_change_nothing(store_of, batches, taken, weights, combine):
    teachers = [store_of("a"), store_of("b")]
    steps = []
    for size, packed in ((40, False), (3, False), (2, True), (40, True)):
        made = batches(teachers, weights, combine, size=size, packed=packed)
        steps.append(taken(made, teachers, TERMS["alm"], combine))
    for step in steps[1:]:
        assert_same_step(step, steps[0], rel=2e-5)


def test_a_column_leaves_a_teacher_out(store_of, batches, taken, documents):
    teachers = [store_of("a"), store_of("b")]
    made = batches(teachers, {"de": [1, 0], "en": [0, 1]}, size=40)
    assert sorted(batch.shares for batch in made) == [(0.0, 1.0), (1.0, 0.0)]
    only = {"alm": alm}
    both = taken(made, teachers, only)[0]
    expected = 0.0
    for teacher, group in zip(teachers, GROUPS, strict=True):
        own = [document for document in documents if document.group == group]
        part = taken(batches([teacher], chosen=own), [teacher], only)[0]
        whole = taken(batches([teacher]), [teacher], only)[0]
        # a document counts as much as in a run of its teacher alone
        expected += (part.losses["alm"] * part.weights["alm"] / whole.weights["alm"]).item()
    assert both.losses["alm"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("combine", "mean"), [(MIXTURE, "log"), (GEOMETRIC, "plain")])
def test_likelihoods_of_shared_chunks(store_of, batches, combine, mean):
    """Against a loop over chunks, with spans of bytes that are found without the alignment."""
    teachers = [store_of("a"), store_of("b")]
    shares = (0.25, 0.75)
    number = 0
    for batch in batches(teachers, [1, 3], combine, packed=True):
        joint = StoredTeachers(
            tuple(teachers), ("a", "b"), TeacherWeights.of([1, 3], ["a", "b"]), combine
        )
        (teacher,) = teachers_of(joint)
        found = teacher(batch, batch.teacher)
        for row, chunk in batch.chunk_mask.nonzero().tolist():
            logs, boundaries = [], []
            for view in batch.views:
                inside = view.teacher.chunk_ids[row] == chunk
                logs.append(view.scores.logprobs[row][inside].sum().item())
                last = int(inside.nonzero()[-1])
                is_structure = bool(view.chunk_is_structure[row, chunk])
                boundary = view.scores.boundary_logprobs[row, last].item()
                boundaries.append(0.0 if is_structure else boundary)
            both = [x + b for x, b in zip(logs, boundaries, strict=True)]
            if mean == "log":
                expected = [
                    math.log(sum(w * math.exp(x) for w, x in zip(shares, values, strict=True)))
                    for values in (logs, both)
                ]
            else:
                expected = [
                    sum(w * x for w, x in zip(shares, values, strict=True))
                    for values in (logs, both)
                ]
            chunk_logprob = found.chunk_logprobs[row, chunk].item()
            whole = chunk_logprob + found.boundary_logprobs[row, chunk].item()
            assert [chunk_logprob, whole] == pytest.approx(expected, rel=1e-4, abs=1e-5)
            number += 1
        total = found.token_logprobs.sum().item()
        chunks = found.chunk_logprobs.masked_fill(~batch.chunk_mask, 0.0)
        assert total == pytest.approx(chunks.sum().item(), rel=1e-5)
    assert number > 50


def test_shared_chunks_are_those_that_all_have(store_of, pairing, documents, chats):
    teachers = [store_of("a"), store_of("b")]
    joint = pairing(teachers, combine=MIXTURE)
    coarser = 0
    for document in [*documents, *chats]:
        alone = [pairing([teacher]).windows(document) for teacher in teachers]
        for number, window in enumerate(joint.windows(document)):
            (other,) = window.others
            assert window.student.ids.tolist() == other.student.ids.tolist()
            assert window.student.chunk_ids.tolist() == other.student.chunk_ids.tolist()
            ends = [_ends(each[number]) for each in alone]
            assert _ends(window) == ends[0] & ends[1]
            coarser += len(ends[1]) - len(_ends(window))
    assert coarser > 0


def _ends(window):
    """Positions after which the student is at a chunk's end."""
    ids = window.student.chunk_ids.tolist()
    return {
        n for n, (one, then) in enumerate(zip(ids, [*ids[1:], None], strict=True)) if one != then
    }


@pytest.mark.parametrize("kind", ["documents", "chats"])
def test_what_is_too_long_for_one_teacher_ends_for_all(request, store_of, pairing, kind):
    teachers = [store_of("a"), store_of("b")]
    whole = short = 0
    for document in request.getfixturevalue(kind):
        full = pairing(teachers).windows(document)
        # the second teacher has more tokens than the first
        cut = pairing(teachers, length=40).windows(document)
        for one, other in zip(full, cut, strict=True):
            (last,) = other.others
            assert len(last.teacher.ids) <= 38
            size = len(other.student.ids)
            assert other.student.ids.tolist() == last.student.ids.tolist()
            assert other.student.ids.tolist() == one.student.ids[:size].tolist()
            assert other.ends_document == last.ends_document
            whole += size == len(one.student.ids)
            short += size < len(one.student.ids)
    assert short > 0


def test_other_contents_are_bad(store_of, pairing):
    teachers = [store_of("a"), store_of("b")]
    with pytest.raises(ValueError, match="no scores of this text"):
        pairing(teachers).windows(Document("Never scored.", name="new"))
    on_bad = Skip()
    assert pairing(teachers, on_bad=on_bad).windows(Document("Never scored.", name="new")) == []
    assert on_bad.counts() == {"not scored": 1}
    assert APART not in on_bad.counts()


def test_cached_windows_keep_all_teachers(store_of, pairing, documents, tmp_path):
    teachers = [store_of("a"), store_of("b")]
    folders = set()
    for weights in ([1, 3], {"de": [1, 0], "en": [1, 1]}):
        joint = pairing(teachers, weights)
        cached = CachedWindows(
            documents,
            pairing=joint,
            folder=str(tmp_path / "windows"),
            windows_per_document=None,
            num_workers=0,
        )
        folders.add(cached.folder)
        plain = [window for document in documents for window in joint.windows(document)]
        assert len(cached) == len(plain) > 10
        for number, window in enumerate(plain):
            found = cached[number]
            assert found.shares == window.shares
            for ours, theirs in zip(found.views, window.views, strict=True):
                assert ours.teacher.ids.tolist() == theirs.teacher.ids.tolist()
                assert ours.student.chunk_ids.tolist() == theirs.student.chunk_ids.tolist()
    assert len(folders) == 2


def test_uncut_texts_are_refused(models):
    alone = Pairing(
        student=models["student"].view,
        teacher=models["a"].view,
        alignment=Finest(),
        student_length=LENGTH,
        teacher_length=LENGTH,
    )
    with pytest.raises(ValueError, match="cut_bytes is null"):
        JointPairing([alone, alone], TeacherWeights.of(None, ["a", "b"]), shares_chunks=False)


def test_teachers_without_a_window_in_common_are_apart(models):
    """Each text is one chunk, for which one teacher has room and another has not."""

    def joint(on_bad=None):
        each = [
            Pairing(
                student=models["student"].view,
                teacher=models[name].view,
                alignment=Finest(),
                student_length=LENGTH,
                teacher_length=length,
                cut_bytes=CUT,
                on_bad=on_bad,
            )
            for name, length in (("a", LENGTH), ("b", 3))
        ]
        weights = TeacherWeights.of(None, ["a", "b"])
        return each, JointPairing(each, weights, shares_chunks=False)

    each, pairing = joint()
    words = [Document(word, name=word) for text in SENTENCES for word in text.split()]
    apart = next(word for word in words if not each[1].windows(word))
    assert [len(alone.windows(apart)) for alone in each] == [1, 0]
    with pytest.raises(ValueError, match=r"no part of it .* with .* alone") as caught:
        pairing.windows(apart)
    assert models["a"].view.name in str(caught.value)
    assert str(caught.value).startswith(apart.name)
    on_bad = Skip()
    _, skips = joint(on_bad)
    assert skips.windows(apart) == []
    assert on_bad.counts() == {APART: 1}
    # a piece that not all can hold is no reason to drop the rest
    rest = Document(f"{'a ' * (CUT // 2)} {apart.text}", name="rest")
    assert len(skips.windows(rest)) == 1
    # and where nobody has a window, nobody is apart
    assert skips.windows(Document("", name="empty")) == []
    assert on_bad.counts() == {APART: 1}
