import itertools
import random

import numpy as np
import pytest
from tests.unit.alignment.bias.byte_bpe import bpe

from alm_lightning.alignment.bias.counts import count_documents
from alm_lightning.alignment.bias.exclusions import ExclusionModel, pair_bias
from alm_lightning.corpus.document import Document
from alm_lightning.tokenization.bytes.view import byte_view


def id_of(view, surface):
    return list(view.token_bytes).index(surface)


def bias(texts, student, teacher, student_surface, teacher_surface):
    documents = [Document(text, text) for text in texts]
    counts = count_documents(documents, student=student, teacher=teacher)
    return pair_bias(
        ExclusionModel(student, counts.student),
        id_of(student, student_surface),
        ExclusionModel(teacher, counts.teacher),
        id_of(teacher, teacher_surface),
    )


def test_a_number_that_one_side_splits():
    # tokens x, ' 122', x, ' 12': a quarter of them excludes '2' after ' 12'; bytes exclude nothing
    whole = bpe("Ġ 1", "Ġ1 2", "Ġ12 2")
    split = bpe()
    texts = ["x 122", "x 12"]
    assert bias(texts, whole, split, b" 12", b"2") == 0.25
    assert bias(texts, split, whole, b"2", b" 12") == 0.25
    assert bias(texts, whole, split, b" 122", b"2") == 0.0
    assert bias(texts, whole, split, b"x", b"x") == 0.0
    assert bias(texts, whole, whole, b" 12", b" 12") == 0.0


def test_a_cover_of_two_tokens():
    # 'ab' is a token, but 'abc' is a and bc: 'ab' excludes c with the mass p(a) p(bc)
    student = bpe("b c", "a b")
    assert bias(["ab", "abc"], student, byte_view(), b"ab", b"b") == pytest.approx(1 / 9, rel=1e-12)


def test_an_exclusion_needs_no_mass_on_the_other_side():
    # both exclude c after b: the student has bc in the corpus, the teacher only in its vocabulary
    student, teacher = bpe("b c"), bpe("a b", "ab c", "b c")
    assert bias(["abc", "b"], student, teacher, b"b", b"b") == 0.0
    # without that token there the student's exclusion is its own
    assert bias(["abc", "b"], student, bpe("a b", "ab c"), b"b", b"b") == pytest.approx(1 / 3)


def test_what_is_beyond_telling_counts_as_one():
    view = bpe("Ġ Ġ")
    texts = ["a  b", "b a"]
    assert bias(texts, view, byte_view(), b" ", b" ") == 1.0
    assert bias(texts, view, byte_view(), b"  ", b" ") == 1.0
    assert bias(texts, view, byte_view(), b"a", b"b") == 1.0
    models = [ExclusionModel(v, np.ones(v.num_tokens, dtype=np.int64)) for v in (view, byte_view())]
    assert pair_bias(models[0], 97, models[1], models[1].view.id_of("eos")) == 1.0
    with pytest.raises(ValueError, match="spells no bytes"):
        models[1].exclusions(models[1].view.id_of("eos"))


def test_tokens_that_cut_characters():
    # é is C3 A9, è is C3 A8, in GPT-2's alphabet Ã© and Ã¨: C3 alone is no text
    view = bpe("Ã ©")
    counts = np.zeros(view.num_tokens, dtype=np.int64)
    for surface in (b"\xc3", b"\xa8", b"\xc3\xa9", b"a"):
        counts[id_of(view, surface)] = 1
    model = ExclusionModel(view, counts)
    assert model.exclusions(id_of(view, b"\xc3")) == {b"\xa9": 0.25}
    assert model.excludes(id_of(view, b"\xc3"), b"\xa9")
    assert not model.excludes(id_of(view, b"\xc3"), b"\xa8")
    assert model.exclusions(id_of(view, b"\xa8")) == {}


def test_within_a_text_there_is_no_dummy_space():
    view = bpe("Ġ a", "Ġa b", "a b", add_prefix_space=True)
    model = ExclusionModel(view, np.ones(view.num_tokens, dtype=np.int64))
    assert [view.token_bytes[i] for i in model.canonical(b"ab")] == [b"ab"]
    assert [view.token_bytes[i] for i in model.canonical(b" ab")] == [b" ab"]


def brute_exclusions(view, probs, surface, tokens):
    """Masses of exclusions, by trying every sequence of up to three tokens."""
    masses = {}
    for length in (1, 2, 3):
        for sequence in itertools.product(tokens, repeat=length):
            parts = [view.token_bytes[i] for i in sequence]
            spelled = b"".join(parts)
            before = sum(map(len, parts[:-1]))
            if not (spelled.startswith(surface) and before < len(surface) < len(spelled)):
                continue
            if tuple(view.encode(spelled.decode()).ids.tolist()) == sequence:
                rest = spelled[len(surface) :]
                masses[rest] = masses.get(rest, 0.0) + float(np.prod(probs[list(sequence)]))
    return masses


def random_view(rng):
    pieces, merges = ["a", "b", "c"], []
    while len(merges) < 5:
        left, right = rng.choice(pieces), rng.choice(pieces)
        if left + right not in pieces and len(left + right) <= 4:
            pieces.append(left + right)
            merges.append(f"{left} {right}")
    view = bpe(*merges)
    return view, [id_of(view, piece.encode()) for piece in pieces]


@pytest.mark.parametrize("seed", range(6))
def test_biases_are_those_of_brute_force(seed):
    rng = random.Random(seed)
    (student, student_tokens), (teacher, teacher_tokens) = random_view(rng), random_view(rng)
    texts = ["".join(rng.choices("abc", k=rng.randint(1, 12))) for _ in range(30)]
    counts = count_documents(
        [Document(text, text) for text in texts], student=student, teacher=teacher
    )
    models = ExclusionModel(student, counts.student), ExclusionModel(teacher, counts.teacher)
    sides = [
        (student, counts.student / counts.student.sum(), student_tokens),
        (teacher, counts.teacher / counts.teacher.sum(), teacher_tokens),
    ]
    num_compared, largest = 0, 0.0
    for key in counts.keys.tolist():
        ids = divmod(key, teacher.num_tokens)
        surfaces = [side[0].token_bytes[index] for side, index in zip(sides, ids, strict=True)]
        # three tokens are all that a cover of three bytes can have
        if max(map(len, surfaces)) > 3:
            continue
        found = [
            brute_exclusions(view, probs, surface, tokens)
            for (view, probs, tokens), surface in zip(sides, surfaces, strict=True)
        ]
        expected = max(
            sum(mass for rest, mass in found[0].items() if rest not in found[1]),
            sum(mass for rest, mass in found[1].items() if rest not in found[0]),
        )
        assert pair_bias(models[0], ids[0], models[1], ids[1]) == pytest.approx(expected, abs=1e-8)
        num_compared += 1
        largest = max(largest, expected)
    assert num_compared > 5
    assert largest > 0.0
