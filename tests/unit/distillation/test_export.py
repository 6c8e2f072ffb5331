"""What the card of an exported student says of how it was made."""

import pytest

from alm_lightning.distillation.export import how_made

ALM = "Approximate Likelihood Matching"


@pytest.mark.parametrize(
    ("terms", "said", "unsaid"),
    [
        (
            ["alm", "next_token"],
            ["distilling Big into", "terms alm, next_token.", ALM],
            ["hidden_states"],
        ),
        (["next_token"], ["training a student", "terms next_token."], [ALM, "distilling"]),
    ],
)
def test_the_card_names_the_terms_that_were_trained_on(terms, said, unsaid):
    text = how_made("Big", "small-tokenizer", terms, "bfloat16")
    assert all(part in text for part in [*said, "small-tokenizer", "rounded to bfloat16"])
    assert not [part for part in unsaid if part in text]
