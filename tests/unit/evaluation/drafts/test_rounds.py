"""Acceptance counted by hand."""

import pytest
import torch
from tests.conftest import tiny_gemma3
from transformers import GenerationConfig
from transformers.generation.candidate_generator import CandidateGenerator

from alm_lightning.evaluation.drafts.rounds import Counting, Rounds, counted_rounds


class Listed(CandidateGenerator):
    """Drafts that are given, one a round."""

    def __init__(self, drafts):
        self.drafts, self.told = list(drafts), []

    def get_candidates(self, input_ids, **kwargs):
        draft = torch.tensor([self.drafts.pop(0)], dtype=torch.long)
        return torch.cat([input_ids, draft], dim=1), None

    def update_candidate_strategy(self, input_ids, scores, num_matches):
        self.told.append(num_matches)


@pytest.mark.parametrize(
    ("draft", "kept", "drafted", "accepted"),
    [
        ([5, 6, 7], [5, 6, 9], 3, 2),  # the third is refused, and 9 is the target's
        ([5, 6, 7], [5, 6, 7, 8], 3, 3),  # all taken, and one more of the target's
        ([5, 6, 7], [4], 3, 0),
        ([5, 6, 2], [5, 6, 2], 3, 3),  # the draft ends the text: transformers says 2
        ([], [4], 0, 0),  # nothing was drafted
    ],
)
def test_what_is_kept_of_a_draft(draft, kept, drafted, accepted):
    rounds, generator = Rounds(), Listed([draft])
    counting = Counting(generator, rounds)
    prompt = torch.tensor([[1, 5, 6, 7]])
    ids, logits = counting.get_candidates(prompt)
    assert ids.tolist() == [[1, 5, 6, 7, *draft]]
    assert logits is None
    counting.update_candidate_strategy(torch.tensor([[1, 5, 6, 7, *kept]]), torch.zeros(1, 4, 9), 0)
    assert (rounds.drafted, rounds.accepted) == ([drafted], [accepted])
    assert generator.told == [0]


def greedy(model, prompt, num_tokens):
    settings = GenerationConfig(max_new_tokens=num_tokens, do_sample=False, pad_token_id=0)
    return model.generate(prompt, generation_config=settings)[0, prompt.shape[1] :].tolist()


def test_drafts_of_known_quality_through_transformers():
    model = tiny_gemma3(60).eval()
    model.generation_config = GenerationConfig()
    prompt = torch.tensor([[3, 14, 15, 9, 26]])
    own = greedy(model, prompt, 9)
    wrong = [(each + 1) % 60 for each in own]
    # 2 of 3 are right, so the round writes 3 tokens; then 0 of 2: 1; then 3 of 3: 4; then the last
    drafts = [[*own[:2], wrong[2]], [wrong[3], own[4]], own[4:7], []]
    listed = Listed(drafts)
    settings = GenerationConfig(
        max_new_tokens=9, do_sample=False, pad_token_id=0, prompt_lookup_num_tokens=3
    )
    with counted_rounds(model, lambda **kwargs: listed) as rounds:
        found = model.generate(prompt, generation_config=settings)
    assert found[0, 5:].tolist() == own
    assert rounds.drafted == [3, 2, 3, 0]
    assert rounds.accepted == [2, 0, 3, 0]
    assert listed.told == [2, 0, 3, 0]
    # nothing of the counting is left
    assert "_get_candidate_generator" not in vars(model)


def test_a_version_of_transformers_that_drafts_elsewhere_is_an_error():
    model = tiny_gemma3(60).eval()
    with pytest.raises(RuntimeError, match=r"transformers 5\.24"), counted_rounds(model):
        greedy(model, torch.tensor([[3, 14]]), 2)
