"""The donor's proportions, carried over to old rows; and donors that can't be one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import tiny_gemma3

from alm_lightning.counterparts import same_bytes
from alm_lightning.models.embeddings.donor import anchors
from alm_lightning.models.embeddings.omp import OrthogonalMatchingPursuit
from alm_lightning.models.weights.sources import Folder

WIDTH = 512
"""Random rows are nearly orthogonal then, and two of them are found again for certain."""


def save_donor(folder, tokenizer, *, rows=None, tied=True):
    model = tiny_gemma3(
        rows or len(tokenizer),
        hidden_size=WIDTH,
        tie_word_embeddings=tied,
        num_hidden_layers=1,
        layer_types=["full_attention"],
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def plant(matrix, made, atoms, seed):
    """Overwrites rows with combinations of two others; returns the proportions."""
    generator = torch.Generator().manual_seed(seed)
    proportions = torch.zeros(len(made), len(atoms))
    for row in range(len(made)):
        first, second = torch.randperm(len(atoms), generator=generator)[:2]
        proportions[row, first], proportions[row, second] = 1.0, -0.8
    with torch.no_grad():
        matrix.normal_(generator=generator)
        # lengths differ in the donor: proportions are those of the rows, not of their directions
        matrix.mul_(torch.rand(len(matrix), 1, generator=generator) + 1)
        matrix[made] = proportions @ matrix[atoms]
    return proportions


@pytest.fixture
def sides(byte_level_view, metaspace_view):
    """Old and new tokenizer, new ids of anchors, and of tokens to make."""
    old, new = byte_level_view, metaspace_view
    same = same_bytes(new, old)
    content = [index for index, surface in enumerate(new.token_bytes) if surface is not None]
    made = [index for index in content if same[index] < 0]
    return old, new, anchors(old, new), made


@pytest.mark.parametrize("tied", [True, False])
def test_planted_proportions_are_carried_over(sides, metaspace_tokenizer, tmp_path, tied):
    old, new, atoms, made = sides
    model = save_donor(tmp_path, metaspace_tokenizer, tied=tied)
    proportions = {"input": plant(model.get_input_embeddings().weight, made, atoms, 0)}
    proportions["output"] = proportions["input"]
    if not tied:
        proportions["output"] = plant(model.get_output_embeddings().weight, made, atoms, 1)
    model.save_pretrained(tmp_path)
    way = OrthogonalMatchingPursuit(donor=Folder(path=str(tmp_path)), k=4, batch_size=7)
    make = way.fitted(old=old, new=new)
    matrix = torch.randn(old.num_tokens + 3, 10, generator=torch.Generator().manual_seed(2))
    same = same_bytes(new, old)
    for side in ("output", "input"):
        rows = make(matrix, side=side)
        assert rows.shape == (new.num_tokens, 10)
        expected = proportions[side] @ matrix[same[atoms]]
        torch.testing.assert_close(rows[made], expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(rows[atoms], matrix[same[atoms]])
        assert torch.equal(rows[new.roles["bos"]], matrix[old.roles["bos"]])
    bias = make(matrix[:, :1], side="output")
    torch.testing.assert_close(bias, make(matrix, side="output")[:, :1], rtol=1e-4, atol=1e-5)


def test_a_renumbered_tokenizer_has_the_same_rows(sides, metaspace_tokenizer, tmp_path):
    old, new, _, _ = sides
    save_donor(tmp_path, metaspace_tokenizer)
    size = new.num_tokens

    def moved(index):
        return (index + 17) % size

    surfaces = [None] * size
    for index, surface in enumerate(new.token_bytes):
        surfaces[moved(index)] = surface
    renumbered = replace(
        new,
        token_bytes=surfaces,
        special_ids={text: moved(index) for text, index in new.special_ids.items()},
        roles={role: moved(index) for role, index in new.roles.items()},
        fallback_ids=frozenset(map(moved, new.fallback_ids)),
    )
    matrix = torch.randn(old.num_tokens, 10, generator=torch.Generator().manual_seed(2))
    way = OrthogonalMatchingPursuit(donor=Folder(path=str(tmp_path)), k=4)
    rows = way.fitted(old=old, new=new)(matrix, side="input")
    other = way.fitted(old=old, new=renumbered)(matrix, side="input")
    torch.testing.assert_close(other[[moved(index) for index in range(size)]], rows)


def test_a_special_token_of_the_donor_alone_is_made_like_others(
    sides, metaspace_tokenizer, tmp_path
):
    old, new, atoms, _ = sides
    model = save_donor(tmp_path, metaspace_tokenizer)
    unknown = new.special_ids["<unk>"]
    assert "<unk>" not in old.special_ids
    proportions = plant(model.get_input_embeddings().weight, [unknown], atoms, 0)
    model.save_pretrained(tmp_path)
    matrix = torch.randn(old.num_tokens, 10)
    way = OrthogonalMatchingPursuit(donor=Folder(path=str(tmp_path)), k=4)
    rows = way.fitted(old=old, new=new)(matrix, side="input")
    expected = proportions @ matrix[same_bytes(new, old)[atoms]]
    torch.testing.assert_close(rows[[unknown]], expected, rtol=1e-4, atol=1e-4)


def test_untrained_rows_of_the_donor(sides, metaspace_tokenizer, tmp_path):
    old, new, atoms, made = sides
    model = save_donor(tmp_path, metaspace_tokenizer)
    with torch.no_grad():
        model.get_input_embeddings().weight[made[0]] = 0
        model.get_input_embeddings().weight[atoms[:5]] = 0
    model.save_pretrained(tmp_path)
    matrix = torch.randn(old.num_tokens, 10)
    way = OrthogonalMatchingPursuit(donor=Folder(path=str(tmp_path)), k=4)
    rows = way.fitted(old=old, new=new)(matrix, side="input")
    ordinary = [index for index, surface in enumerate(old.token_bytes) if surface is not None]
    torch.testing.assert_close(rows[made[0]], matrix[ordinary].mean(dim=0))
    assert rows.isfinite().all()


def test_each_old_token_is_an_anchor_once_and_of_its_kind(byte_level_view, metaspace_view):
    old, new = byte_level_view, metaspace_view
    found = anchors(old, new)
    counterparts = same_bytes(new, old)
    assert len(set(counterparts[found].tolist())) == len(found)
    by_surface = {new.token_bytes[index]: index for index in found.tolist()}
    assert by_surface[b"a"] not in new.fallback_ids
    assert by_surface[b"\xc3"] in new.fallback_ids
    assert set(by_surface) == {s for s in new.token_bytes if s is not None} & {
        s for s in old.token_bytes if s is not None
    }
    assert (np.diff(found) > 0).all()


def test_donors_that_are_none_are_refused(
    sides, metaspace_tokenizer, byte_level_tokenizer, tmp_path
):
    old, new, _, _ = sides
    save_donor(tmp_path / "other", byte_level_tokenizer)
    way = OrthogonalMatchingPursuit(donor=Folder(path=str(tmp_path / "other")))
    with pytest.raises(
        ValueError, match=r"has no token for \d+ of the 394 tokens .*give its source"
    ):
        way.fitted(old=old, new=new)
    save_donor(tmp_path / "short", metaspace_tokenizer, rows=397)
    way = OrthogonalMatchingPursuit(donor=Folder(path=str(tmp_path / "short")))
    with pytest.raises(ValueError, match=r"3 tokens .* lie beyond the 397 rows .* such as id 397"):
        way.fitted(old=old, new=new)
    nothing = replace(old, token_bytes=[b"\xfe\xfe\xfe"] * old.num_tokens)
    with pytest.raises(ValueError, match="share no token"):
        anchors(nothing, new)
    for wrong in ({"k": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="expected 1 or more"):
            OrthogonalMatchingPursuit(donor=Folder(path="x"), **wrong)
