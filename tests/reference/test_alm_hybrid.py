"""ALM with distributions, against a loop over merged chunks on transformers' own logits."""

import math
from dataclasses import replace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.alm_hybrid import ALMHybrid
from alm_lightning.objectives.divergence import binarised
from alm_lightning.objectives.vocabularies.coarse import CoarseVocabulary
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts


@pytest.fixture
def case(byte_level_view, metaspace_view):
    return objective_case(byte_level_view, metaspace_view)


def objective_of(pair, **changes):
    settings = {
        "temperature": 5,
        "threshold": 0.1,
        "debias": True,
        "distribution_temperature": 1,
        "distribution_weight": 1,
        "unshared": "bucket",
    }
    objective = ALMHybrid(**(settings | changes))
    objective.setup(pair)
    return objective


# --- the slow reference


def shared_pairs(student, teacher):
    """By hand: the same bytes, a byte-fallback token last; or special tokens of one text."""
    by_bytes = []
    for view in (student, teacher):
        order = sorted(range(view.num_tokens), key=lambda i: (i in view.fallback_ids, i))
        ids = {}
        for id_ in order:
            if view.token_bytes[id_]:
                ids.setdefault(view.token_bytes[id_], id_)
        by_bytes.append(ids)
    pairs = [(by_bytes[0][piece], by_bytes[1][piece]) for piece in by_bytes[0].keys() & by_bytes[1]]
    both = student.special_ids.keys() & teacher.special_ids.keys()
    return [*pairs, *((student.special_ids[text], teacher.special_ids[text]) for text in both)]


def coin(p, q):
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def cells(logprobs, view, ids, temperature, unshared):
    """Each shared token with those that belong to it, and what is left; temperature first."""
    probs = (logprobs / temperature).softmax(0)
    ids = ids.tolist()
    found = [probs[i] for i in ids] + [torch.zeros_like(probs[0])]
    for other in set(range(len(probs))) - set(ids):
        surface = view.token_bytes[other] or b""
        begins = [i for i in ids if view.token_bytes[i] and surface.startswith(view.token_bytes[i])]
        home = max(begins, key=lambda i: len(view.token_bytes[i]), default=None)
        place = -1 if home is None or unshared == "bucket" else ids.index(home)
        found[place] = found[place] + probs[other]
    return torch.stack(found)


def tokens_of(chunk_ids, chunk):
    return [place for place, id_ in enumerate(chunk_ids.tolist()) if id_ == chunk]


def after(case, side, row, place):
    """Probability that a boundary comes right after a token."""
    view = getattr(case, side).view
    logprobs = getattr(case, f"{side}_logprobs")[row].roll(-1, dims=0)[place]
    return logprobs[torch.from_numpy(view.boundary_ids)].exp().sum()


def reference(case, *, temperature, threshold, debias, distribution_temperature, weight, unshared):
    """The total, and how many merged chunks of each kind there are."""
    pairs = shared_pairs(case.student.view, case.teacher.view)
    student_ids, teacher_ids = (torch.tensor(ids) for ids in zip(*pairs, strict=True))
    batch, total, counts = case.batch, 0.0, {"distribution": 0, "single": 0, "merged": 0}
    for row in range(len(batch.student.ids)):
        run = []
        for chunk in range(int(batch.chunk_mask[row].sum())):
            s = tokens_of(batch.student.chunk_ids[row], chunk)
            t = tokens_of(batch.teacher.chunk_ids[row], chunk)
            is_structure = bool(batch.chunk_is_structure[row, chunk])
            one = torch.tensor(1.0, dtype=torch.float64)
            boundary_s = one if is_structure else after(case, "student", row, s[-1])
            boundary_t = one if is_structure else after(case, "teacher", row, t[-1])
            run.append((s, t))
            if boundary_t <= threshold and not batch.chunk_ends_run[row, chunk]:
                continue
            likelihoods = []
            for side, place in (("student", 0), ("teacher", 1)):
                ids = getattr(batch, side).ids[row]
                logprobs = getattr(case, f"{side}_logprobs")[row]
                positions = [p for part in run for p in part[place]]
                likelihoods.append(sum(logprobs[p, ids[p]] for p in positions))
            ids = (int(batch.student.ids[row, s[0]]), int(batch.teacher.ids[row, t[0]]))
            if len(run) == len(s) == len(t) == 1 and ids in pairs:
                counts["distribution"] += 1
                p, q = (
                    cells(
                        getattr(case, f"{side}_logprobs")[row, place],
                        getattr(case, side).view,
                        side_ids,
                        distribution_temperature,
                        unshared,
                    )
                    for side, place, side_ids in (
                        ("teacher", t[0], teacher_ids),
                        ("student", s[0], student_ids),
                    )
                )
                if p[-1] == 0 or q[-1] == 0:
                    p, q = (each[:-1] / each[:-1].sum() for each in (p, q))
                part = distribution_temperature**2 * (p * (p / q).log()).sum()
                if debias and not is_structure:
                    part = part + likelihoods[1].exp() * coin(boundary_t, boundary_s)
                total = total + weight * part / temperature
            else:
                counts["single" if len(run) == 1 else "merged"] += 1
                if debias:
                    likelihoods[0] = likelihoods[0] + boundary_s.log()
                    likelihoods[1] = likelihoods[1] + boundary_t.log()
                q, p = ((value / temperature).exp() for value in likelihoods)
                total = total + coin(p, q)
            run = []
    return total, counts


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 5.0, "threshold": 1e-3, "debias": True},
        {"temperature": 1.0, "threshold": 0.0, "debias": True},
        {"temperature": 5.0, "threshold": 3e-3, "debias": False},
    ],
)
@pytest.mark.parametrize(
    ("distribution_temperature", "weight", "slice_elements", "unshared"),
    [(1.0, 1.0, 2**24, "bucket"), (2.5, 0.3, 1000, "bucket"), (1.5, 1.0, 1000, "prefix")],
)
def test_value_and_gradient(
    case, settings, distribution_temperature, weight, slice_elements, unshared, monkeypatch
):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    expected, counts = reference(
        case,
        **settings,
        distribution_temperature=distribution_temperature,
        weight=weight,
        unshared=unshared,
    )
    assert counts["distribution"] > 10
    assert counts["single"] > 5
    assert (counts["merged"] > 5) == (settings["threshold"] > 0)
    objective = objective_of(
        case.pair,
        **settings,
        distribution_temperature=distribution_temperature,
        distribution_weight=weight,
        unshared=unshared,
    )
    assert objective.weight(case.signal) == sum(counts.values())
    found = objective(case.signal)
    parameters = case.student.model.parameters()
    assert_same(found, expected, parameters, value=1e-9, gradient=1e-6)


# --- what it is at its limits


def only(signal, row, chunk):
    """The signal with one chunk of one row left."""
    mask = torch.zeros_like(signal.chunk_mask)
    mask[row, chunk] = True
    return replace(signal, chunk_mask=mask)


def test_between_alm_and_the_whole_distributions(byte_level_view):
    """With one vocabulary the whole divergence is known: of the next token, and of a boundary."""
    # special tokens of other names: they share a bucket
    renamed = {f"{text} of another": id_ for text, id_ in byte_level_view.special_ids.items()}
    other = replace(byte_level_view, special_ids=renamed)
    case = objective_case(byte_level_view, other, widths=(32, 48))
    hybrid = objective_of(case.pair, temperature=1, threshold=0.0)
    alm = ALM(temperature=1, threshold=0.0, debias=True, divergence="kl")
    p, q = case.teacher_logprobs.exp(), case.student_logprobs.exp()
    strictly = 0
    for row, chunk in case.signal.chunk_mask.nonzero().tolist():
        signal = only(case.signal, row, chunk)
        place = tokens_of(case.batch.student.chunk_ids[row], chunk)[-1]
        token = int(case.batch.student.ids[row, place])
        whole = (p[row, place] * (p[row, place] / q[row, place]).log()).sum()
        if not case.batch.chunk_is_structure[row, chunk]:
            sides = [after(case, side, row, place) for side in ("teacher", "student")]
            whole = whole + p[row, place, token] * coin(*sides)
        low, found = alm(signal).item(), hybrid(signal).item()
        assert low <= found + 1e-12
        assert found <= whole.item() + 1e-12
        strictly += low + 1e-3 < found < whole.item() - 1e-6
    assert strictly > 20


def test_it_is_0_where_the_student_is_its_teacher(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = replace(
        case.signal,
        optional_teacher=case.teacher(case.batch, case.batch.teacher, keep_distributions=True),
    )
    objective = objective_of(case.pair)
    assert objective(case.signal).item() > 1.0
    assert objective(same).item() == pytest.approx(0.0, abs=1e-9)
    gradients = torch.autograd.grad(objective(same), list(case.student.model.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-8


def test_without_shared_tokens_it_is_alm(case, bytes_view):
    """A chunk that no cell stands for is compared by its likelihood, and nothing is scaled."""
    objective = objective_of(case.pair)
    objective.cells.shared._counterparts.fill_(-1)
    alm = ALM(temperature=5, threshold=0.1, debias=True, divergence="kl")
    assert objective(case.signal).item() == alm(case.signal).item()
    assert objective.weight(case.signal) == alm.weight(case.signal)


def test_a_batch_without_a_chunk_is_0_with_a_gradient_of_0(case):
    signal = replace(case.signal, chunk_mask=torch.zeros_like(case.signal.chunk_mask))
    found = objective_of(case.pair)(signal)
    assert found.item() == 0.0
    gradients = torch.autograd.grad(
        found, list(case.student.model.parameters()), materialize_grads=True
    )
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("temperature", [20.0, 200.0, math.inf])
def test_distributions_count_as_much_as_chunks_whatever_tau_is(case, temperature):
    def parts(temperature):
        both = objective_of(case.pair, temperature=temperature)(case.signal)
        others = objective_of(case.pair, temperature=temperature, distribution_weight=0)
        return both.item() - others(case.signal).item()

    scale = temperature if math.isfinite(temperature) else 1.0
    assert scale * parts(temperature) == pytest.approx(parts(1), rel=1e-9)
    # what a small difference at a likely token costs ALM, times the same scale
    logprob, difference = torch.tensor(-0.05, dtype=torch.float64), 1e-3
    cost = binarised(logprob, logprob - difference, temperature=temperature).item()
    assert scale * cost == pytest.approx(difference**2 / (2 * 0.05), rel=0.03)


# --- cells


def vocabulary(view, **changes):
    fields = {name: getattr(view, name) for name in view.__dataclass_fields__}
    return type(view)(**(fields | changes))


def facts(student, teacher):
    return PairFacts(SideFacts(student, 8, 8), SideFacts(teacher, 8, 8))


@pytest.fixture
def small(byte_level_view):
    """Student: a, b, c, EOS, one id that no token has. Teacher: EOS, b, a, ab."""

    def make(token_bytes, eos):
        return vocabulary(
            byte_level_view,
            token_bytes=token_bytes,
            special_ids={"<eos>": eos},
            roles={"eos": eos},
            fallback_ids=frozenset(),
        )

    return make([b"a", b"b", b"c", None, None], 3), make([None, b"b", b"a", b"ab"], 0)


def test_cells_by_hand(small):
    cells = CoarseVocabulary(facts(*small), "bucket")
    assert len(cells) == 3
    assert cells.shared.student.tolist() == [0, 1, 3]
    assert cells.shared.teacher.tolist() == [2, 1, 0]
    # the id that no token has is in no bucket
    assert cells.student.left.tolist() == [2]
    assert cells.teacher.left.tolist() == [3]
    student = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]]).log()
    teacher = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    torch.testing.assert_close(cells.student(student).exp(), torch.tensor([[0.1, 0.2, 0.4, 0.3]]))
    torch.testing.assert_close(cells.teacher(teacher).exp(), torch.tensor([[0.2, 0.3, 0.4, 0.1]]))
    same = cells.shared.same(torch.tensor([0, 0, 2, 3]), torch.tensor([2, 1, 3, 0]))
    assert same.tolist() == [True, False, False, True]


def test_a_bucket_of_almost_nothing_keeps_its_digits(small):
    cells = CoarseVocabulary(facts(*small), "bucket")
    logprobs = torch.tensor([[math.log(0.5), math.log(0.5), -40.0, -50.0, -1e30]])
    assert cells.student(logprobs)[0, -1].item() == -40.0


def test_a_side_with_shared_tokens_alone_has_no_bucket(small):
    """Else the teacher's other tokens would be infinitely unlikely for the student."""
    student, teacher = small
    student = vocabulary(student, token_bytes=[b"a", b"b", None, None, None])
    cells = CoarseVocabulary(facts(student, teacher), "bucket")
    assert not cells.has_bucket
    teacher_logprobs = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    torch.testing.assert_close(
        cells.teacher(teacher_logprobs).exp(),
        torch.tensor([[0.2, 0.3, 0.4]]) / 0.9,
    )


def test_an_unshared_token_goes_with_the_longest_shared_one_that_it_begins_with(byte_level_view):
    def make(token_bytes):
        return replace(
            byte_level_view,
            token_bytes=token_bytes,
            special_ids={},
            roles={},
            fallback_ids=frozenset(),
        )

    # shared: u, un, b
    student = make([b"u", b"un", b"unb", b"x", b"b"])
    teacher = make([b"unless", b"b", b"un", b"uz", b"u", b"y"])
    cells = CoarseVocabulary(facts(student, teacher), "prefix")
    assert cells.has_bucket
    ours = cells.student(torch.tensor([[0.1, 0.2, 0.3, 0.15, 0.25]]).log())
    torch.testing.assert_close(ours.exp(), torch.tensor([[0.1, 0.5, 0.25, 0.15]]))
    theirs = torch.tensor([[0.3, 0.1, 0.2, 0.05, 0.25, 0.1]])
    found = cells.teacher(theirs.log())
    torch.testing.assert_close(found.exp(), torch.tensor([[0.3, 0.5, 0.1, 0.1]]))
    # nothing is lost where probabilities are too small for their sum not to be 0
    found = cells.teacher(theirs.log() - 200.0)
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.5, 0.1, 0.1]]).log() - 200.0)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("unshared", "prefixes"),
        ("distribution_temperature", 0),
        ("distribution_weight", -1),
        ("distribution_weight", math.nan),
        ("temperature", 0),
        ("threshold", 1),
    ],
)
def test_settings_that_are_none(case, setting, value):
    with pytest.raises(ValueError, match=rf"ALMHybrid: {setting} is {value!r}"):
        objective_of(case.pair, **{setting: value})
