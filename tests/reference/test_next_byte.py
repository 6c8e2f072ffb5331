"""The next byte against a loop over the bytes of chunks, on transformers' own logits."""

import string
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case, signal_by_hand, vocabulary

from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts

PAIRS = [("bytes", "metaspace"), ("bytes", "byte_level"), ("byte_level", "metaspace")]
OPENING = (string.whitespace + string.punctuation).encode()


@pytest.fixture(params=PAIRS, ids="-".join)
def case(request, views):
    return objective_case(*(views[name] for name in request.param))


def spelled(side, row, chunk, view):
    """The bytes of a chunk: value, place of its token, and how many of its bytes come before.

    Structure is one entry without a value.
    """
    found = []
    for place, its in enumerate(side.chunk_ids[row].tolist()):
        if its != chunk:
            continue
        surface = view.token_bytes[side.ids[row, place]]
        if surface is None:
            found.append((None, place, 0))
        found += [(value, place, k) for k, value in enumerate(surface or b"")]
    return found


def shared_specials(case):
    """Ids of the special tokens that both sides have: of the same text, and EOS."""
    ours, theirs = case.student.view, case.teacher.view
    pairs = [
        (i, theirs.special_ids[t]) for t, i in ours.special_ids.items() if t in theirs.special_ids
    ]
    if ours.id_of("eos") not in dict(pairs):
        pairs.append((ours.id_of("eos"), theirs.id_of("eos")))
    return pairs


def cells(logprobs, view, id_, k, end, specials):
    """The masses of the classes after the first k bytes of a token."""
    prefix = (view.token_bytes[id_] or b"")[:k]
    num_cells = 256 + len(specials) + 1
    members = torch.zeros(num_cells + 1, len(view.token_bytes), dtype=logprobs.dtype)
    for i, surface in enumerate(view.token_bytes):
        if surface is None:
            place = specials.index(i) if i in specials else len(specials)
            members[256 + place, i] = k == 0
        elif surface == prefix:
            members[-1, i] = 1.0
        elif surface.startswith(prefix):
            members[surface[k], i] = 1.0
    masses = members @ logprobs.exp()
    if end == "drop":
        return masses[:-1]
    opens = torch.tensor([b >= 256 or b in OPENING for b in range(num_cells + 1)])
    return torch.cat([masses[~opens], masses[opens].sum().unsqueeze(0)])


def divergence_of(p, q, kind):
    """Of masses that are not normalised, over classes that the student can say."""
    p = p * (q > 0)
    if kind == "reverse_kl":
        q = q * (p > 0)
    if not p.sum() > 0:
        return 0.0
    p, q = (p / p.sum())[q > 0], (q / q.sum())[q > 0]
    if kind == "reverse_kl":
        return (q * (q.log() - p.log())).sum()
    has = p > 0
    if kind == "kl":
        return (p[has] * (p[has].log() - q[has].log())).sum()
    middle = (p + q) / 2
    ours = (q * (q.log() - middle.log())).sum()
    return (p[has] * (p[has].log() - middle[has].log())).sum() / 2 + ours / 2


def reference(case, end, positions, kind="kl"):
    """Sum over bytes; how many there are; how many lie within a token of the teacher."""
    total, count, inside = 0.0, 0, 0
    batch = case.batch
    views = case.student.view, case.teacher.view
    specials = [list(ids) for ids in zip(*shared_specials(case), strict=True)]
    for row in range(len(batch.student.ids)):
        for chunk in range(int(batch.chunk_mask[row].sum())):
            ours = spelled(batch.student, row, chunk, views[0])
            theirs = spelled(batch.teacher, row, chunk, views[1])
            # a space that one side puts before a text
            if len(theirs) == len(ours) + 1 and theirs[0][0] == 32:
                theirs = theirs[1:]
            if len(ours) == len(theirs) + 1 and ours[0][0] == 32:
                ours = ours[1:]
            if [value for value, *_ in ours] != [value for value, *_ in theirs]:
                continue
            for (_, place_s, k_s), (_, place_t, k_t) in zip(ours, theirs, strict=True):
                if k_s > 0 and positions == "token_starts":
                    continue
                count += 1
                inside += k_t > 0
                logprobs = case.student_logprobs[row, place_s]
                q = cells(
                    logprobs, views[0], batch.student.ids[row, place_s], k_s, end, specials[0]
                )
                logprobs = case.teacher_logprobs[row, place_t].detach()
                p = cells(
                    logprobs, views[1], batch.teacher.ids[row, place_t], k_t, end, specials[1]
                )
                total = total + divergence_of(p, q, kind)
    return total, count, inside


@pytest.mark.parametrize("slice_elements", [5000, 2**24])
@pytest.mark.parametrize("positions", ["token_starts", "every_byte"])
@pytest.mark.parametrize("end", ["drop", "boundary"])
@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "jsd"])
def test_value_and_gradient(case, divergence, end, positions, slice_elements, monkeypatch):
    for module in ("next_byte", "chunks.token_bytes"):
        monkeypatch.setattr(f"alm_lightning.objectives.{module}.COPIES", 1)
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    expected, count, inside = reference(case, end, positions, divergence)
    assert count > 50
    assert inside > 10
    objective = NextByte(end=end, positions=positions, divergence=divergence)
    objective.setup(case.pair)
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    # the teacher's shares are kept in float32
    assert_same(found, expected, case.student.model.parameters(), value=1e-6, gradient=1e-4)


@pytest.mark.parametrize("end", ["drop", "boundary"])
@pytest.mark.parametrize(("theirs", "count"), [(b"user", 7), (b"User", 0)])
def test_structure_of_several_tokens(byte_level_view, end, theirs, count):
    """A turn's header: a special token that has no counterpart, and a role, cut otherwise."""
    views = [
        replace(vocabulary(byte_level_view, tokens), special_ids=special_ids, roles={"eos": 1})
        for tokens, special_ids in (
            ([None, None, b"us", b"er", b"\n", b"use"], {"<turn>": 0, "<end>": 1}),
            ([None, None, theirs, b"\n", b"u", b"userx"], {"<header>": 0, "<end>": 1}),
        )
    ]
    rows = ([5, 0, 2, 3, 4, 1], [-1, 0, 0, 0, 0, 0]), ([5, 0, 2, 3, 1], [-1, 0, 0, 0, 0])
    generator = torch.Generator().manual_seed(3)
    probs = [
        torch.rand(len(ids) - 1, 6, generator=generator, dtype=torch.float64).softmax(-1)
        for ids, _ in rows
    ]
    signal = signal_by_hand(*((*row, its.tolist()) for row, its in zip(rows, probs, strict=True)))
    case = SimpleNamespace(
        student=SimpleNamespace(view=views[0]),
        teacher=SimpleNamespace(view=views[1]),
        batch=SimpleNamespace(
            student=signal.student_tokens,
            teacher=signal.teacher_tokens,
            chunk_mask=signal.chunk_mask,
        ),
        student_logprobs=torch.cat([probs[0][:1], probs[0]]).log()[None],
        teacher_logprobs=torch.cat([probs[1][:1], probs[1]]).log()[None],
    )
    expected, expected_count, _ = reference(case, end, "every_byte")
    assert expected_count == count
    objective = NextByte(end=end, positions="every_byte", divergence="kl")
    objective.setup(
        PairFacts(
            *(SideFacts(view, width, width) for view, width in zip(views, (6, 6), strict=True))
        )
    )
    assert objective.weight(signal) == count
    assert objective(signal).item() == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("positions", ["token_starts", "every_byte"])
@pytest.mark.parametrize("end", ["drop", "boundary"])
@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "jsd"])
def test_it_is_0_where_the_student_is_its_teacher(byte_level_view, divergence, end, positions):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    objective = NextByte(end=end, positions=positions, divergence=divergence)
    objective.setup(case.pair)
    assert objective(case.signal).item() > 0.1
    found = objective(replace(case.signal, optional_teacher=same)).item()
    assert found == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"end": "keep"}, "end is 'keep': expected one of"),
        ({"positions": "all"}, "positions is 'all': expected one of"),
        ({"divergence": "tvd"}, "divergence is 'tvd': expected one of"),
    ],
)
def test_settings_that_do_not_exist(settings, says):
    with pytest.raises(ValueError, match=says):
        NextByte(**({"end": "drop", "positions": "token_starts", "divergence": "kl"} | settings))
