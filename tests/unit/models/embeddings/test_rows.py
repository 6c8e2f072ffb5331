"""New rows of FVT, Mean and Keep against what a reader of their docstrings would do by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alm_lightning.counterparts import same_bytes
from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.embeddings.initialisation import Initialisation, NewRows
from alm_lightning.models.embeddings.pieces import pieces
from alm_lightning.models.embeddings.simple import Keep, Mean
from alm_lightning.models.embeddings.start import Start

WAYS = {"fvt": FastVocabularyTransfer(), "mean": Mean(), "keep": Keep(seed=3)}
PAIRS = [("byte_level", "metaspace"), ("metaspace", "byte_level"), ("bytes", "metaspace")]
PADDING = 5


def old_matrix(view, width=6, dtype=torch.float32):
    """Random rows, and after them padding that would be noticed."""
    rows = torch.randn(view.num_tokens, width, generator=torch.Generator().manual_seed(1))
    return torch.cat([rows, torch.full((PADDING, width), 1e6)]).to(dtype)


def old_token_of(old, surface, is_fallback):
    """The old token with the same bytes, one of the same kind first."""
    same = [index for index, known in enumerate(old.token_bytes) if known == surface]
    same.sort(key=lambda index: ((index in old.fallback_ids) != is_fallback, index))
    return same[0] if same else None


def cut(old, surface):
    """The old tokens of some bytes: text by the tokenizer, other bytes from the left."""
    found, rest = [], surface
    while rest:
        try:
            return [*found, *old.encode(rest.decode(), continued=True).ids.tolist()]
        except UnicodeDecodeError as error:
            if error.start:
                text, rest = rest[: error.start].decode(), rest[error.start :]
                found += old.encode(text, continued=True).ids.tolist()
                continue
        ends = range(len(rest), 0, -1)
        # the stretch that is no text ends where some of the rest is text again
        stop = next((n for n in range(1, len(rest)) if is_start_of_text(rest[n:])), len(rest))
        end = next(n for n in ends if n <= stop and rest[:n] in old.token_bytes)
        found.append(old_token_of(old, rest[:end], is_fallback=False))
        rest = rest[end:]
    return found


def is_start_of_text(content):
    return any(is_text(content[:length]) for length in range(1, 5))


def is_text(content):
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(("old_name", "new_name"), PAIRS)
@pytest.mark.parametrize("way", WAYS)
def test_rows_by_hand(views, way, old_name, new_name):
    old, new = views[old_name], views[new_name]
    matrix = old_matrix(old)
    assert isinstance(WAYS[way], Initialisation)
    make = WAYS[way].fitted(old=old, new=new)
    assert isinstance(make, NewRows)
    rows = make(matrix, side="input")
    assert (rows.dtype, rows.shape) == (torch.float32, (new.num_tokens, 6))
    ordinary = [index for index, surface in enumerate(old.token_bytes) if surface is not None]
    mean = matrix[ordinary].double().mean(dim=0).float()
    kinds = {"copied": 0, "made": 0}
    for index, surface in enumerate(new.token_bytes):
        if surface is None:
            continue
        source = old_token_of(old, surface, index in new.fallback_ids)
        kinds["made" if source is None else "copied"] += 1
        if source is not None:
            assert torch.equal(rows[index], matrix[source]), (index, surface)
        elif way == "fvt":
            torch.testing.assert_close(rows[index], matrix[cut(old, surface)].mean(dim=0))
        elif way == "mean":
            torch.testing.assert_close(rows[index], mean)
        else:
            assert not torch.allclose(rows[index], mean)
    assert kinds["copied"] > 50
    assert kinds["made"] > 30
    for role, index in new.roles.items():
        assert torch.equal(rows[index], matrix[old.roles[role]])
    if "<unk>" in new.special_ids:
        torch.testing.assert_close(rows[new.special_ids["<unk>"]], mean)


def test_bytes_that_are_no_text_are_cut_between_texts(byte_level_view, metaspace_view):
    surfaces = ["é".encode()[1:], b"a\xc3", b"\xe6\x97the", "日".encode(), b"\xff\xfe", b"a"]
    for old in (byte_level_view, metaspace_view):
        ids, counts = pieces(old, surfaces)
        found = np.split(ids, np.cumsum(counts)[:-1])
        for surface, got in zip(surfaces, found, strict=True):
            assert b"".join(old.token_bytes[index] for index in got) == surface
            assert got.tolist() == cut(old, surface)
    assert pieces(byte_level_view, [])[0].tolist() == []


def test_longest_old_tokens_of_odd_bytes(byte_level_view):
    # of two tokens for the same bytes the ordinary one, of two that fit the longer one
    known = [b"\xe6", b"\xe6\x97", b"\x97", b"\x97\xa5", b"\xa5", b"\xa5"]
    old = replace(byte_level_view, token_bytes=known, fallback_ids=frozenset([4]), special_ids={})
    ids, counts = pieces(old, [b"\xe6\x97\xff\xa5", b"\xff"])
    assert (ids.tolist(), counts.tolist()) == ([1, 5], [2, 0])


def test_fallbacks_match_fallbacks(metaspace_view, byte_level_view):
    gemma, gpt = metaspace_view, byte_level_view
    both = [i for i in range(gemma.num_tokens) if gemma.token_bytes[i] == b"a"]
    (fallback,) = [i for i in both if i in gemma.fallback_ids]
    (letter,) = [i for i in both if i not in gemma.fallback_ids]
    same = same_bytes(gemma, gemma)
    assert (same[letter], same[fallback]) == (letter, fallback)
    (only,) = [i for i in range(gpt.num_tokens) if gpt.token_bytes[i] == b"a"]
    assert same_bytes(gpt, gemma)[only] == letter
    assert [same_bytes(gemma, gpt)[i] for i in both] == [only, only]
    (odd,) = [i for i in range(gpt.num_tokens) if gpt.token_bytes[i] == b"\xc3"]
    assert gemma.token_bytes[same_bytes(gpt, gemma)[odd]] == b"\xc3"


@pytest.mark.parametrize("way", WAYS)
def test_ids_that_no_token_has_and_unknown_specials_are_the_mean(views, way):
    old, new = views["metaspace"], views["byte_level"]
    surfaces = [*new.token_bytes, None, None]
    more = replace(
        new,
        token_bytes=surfaces,
        special_ids=dict(new.special_ids) | {"<never seen>": new.num_tokens + 1},
    )
    matrix = old_matrix(old)
    rows = WAYS[way].fitted(old=old, new=more)(matrix, side="input")
    ordinary = [index for index, surface in enumerate(old.token_bytes) if surface is not None]
    mean = matrix[ordinary].mean(dim=0)
    torch.testing.assert_close(rows[-2:], mean.expand(2, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_vocabulary_of_the_same_tokens_is_a_copy(views, way):
    view = views["byte_level"]
    matrix = old_matrix(view, dtype=torch.bfloat16)
    rows = WAYS[way].fitted(old=view, new=view)(matrix, side="output")
    assert torch.equal(rows, matrix[:-PADDING].float())
    bias = matrix[:, :1]
    assert torch.equal(WAYS[way].fitted(old=view, new=view)(bias, side="output"), rows[:, :1])


@pytest.mark.parametrize("way", WAYS)
def test_the_old_matrix_stays_and_shares_nothing(views, way):
    old, new = views["metaspace"], views["byte_level"]
    matrix = old_matrix(old).requires_grad_()
    before = matrix.detach().clone()
    rows = WAYS[way].fitted(old=old, new=new)(matrix, side="input")
    assert not rows.requires_grad
    rows.add_(1)
    assert torch.equal(matrix, before)


def test_too_few_rows_are_refused(views):
    make = Mean().fitted(old=views["metaspace"], new=views["byte_level"])
    with pytest.raises(ValueError, match=r"has 400 ids, but the matrix has only 399 rows"):
        make(torch.zeros(399, 3), side="input")


def test_drawn_rows_have_mean_and_covariance_of_the_old_ones(views):
    old, small = views["metaspace"], views["byte_level"]
    # many tokens to draw, of bytes that the old vocabulary has not
    surfaces = [b"\xfe%d" % number for number in range(40_000)]
    new = replace(small, token_bytes=surfaces, special_ids={}, roles={})
    mixing = torch.tensor([[2.0, 1.9, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.1]])
    matrix = old_matrix(old, width=3)[:-PADDING] @ mixing + torch.tensor([1.0, -2.0, 0.5])
    ordinary = [index for index, surface in enumerate(old.token_bytes) if surface is not None]
    drawn = Keep(seed=0).fitted(old=old, new=new)(matrix, side="input")
    expected = matrix[ordinary]
    torch.testing.assert_close(drawn.mean(dim=0), expected.mean(dim=0), rtol=0.05, atol=0.02)
    torch.testing.assert_close(
        torch.cov(drawn.T), torch.cov(expected.T, correction=0), rtol=0.05, atol=0.02
    )


def test_drawing_is_seeded_and_sides_are_drawn_apart(views):
    old, new = views["metaspace"], views["byte_level"]
    matrix = old_matrix(old)
    first, again, other = (Keep(seed=seed).fitted(old=old, new=new) for seed in (5, 5, 6))
    output = again(matrix, side="output")
    assert torch.equal(first(matrix, side="input"), again(matrix, side="input"))
    assert torch.equal(first(matrix, side="output"), output)
    made = Start(old, new).missing
    for rows in (other(matrix, side="input"), output):
        assert not torch.isclose(rows[made], first(matrix, side="input")[made]).all(dim=1).any()


def test_more_channels_than_tokens_can_be_drawn(views):
    old, new = views["metaspace"], views["byte_level"]
    rows = Keep(seed=0).fitted(old=old, new=new)(old_matrix(old, width=450), side="input")
    assert rows.isfinite().all()
