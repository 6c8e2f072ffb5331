"""What the card of an exported student says of how it was made."""

import pytest
from omegaconf import OmegaConf

from alm_lightning.app.train.results import _how_made

ALM = "Approximate Likelihood Matching"


@pytest.mark.parametrize(
    ("objective", "said", "unsaid"),
    [
        (
            {"alm": {}, "next_token": {}, "hidden_states": None},
            ["distilling Big into", "terms alm, next_token.", ALM],
            ["hidden_states"],
        ),
        ({"next_token": {}}, ["training a student", "terms next_token."], [ALM, "distilling"]),
    ],
)
def test_the_card_names_the_terms_that_were_trained_on(objective, said, unsaid):
    cfg = {"objective": objective, "teacher": {"name": "Big"}, "export_dtype": "bfloat16"}
    text = _how_made(OmegaConf.create(cfg), "small-tokenizer")
    assert all(part in text for part in [*said, "small-tokenizer", "rounded to bfloat16"])
    assert not [part for part in unsaid if part in text]
