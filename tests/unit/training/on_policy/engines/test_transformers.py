"""What is sampled has the student's own probabilities."""

import numpy as np
import pytest
import torch
from tests.unit.training.on_policy.own import prompts_of, settings

from alm_lightning.training.on_policy import TransformersEngine


@torch.no_grad()
def logprobs_of(scorer, ids):
    """Of the next token after some ids, without a cache."""
    logits = scorer.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    return logits[: scorer.view.num_tokens].double().log_softmax(0)


@pytest.fixture
def student(scorers):
    # as it is initialised, all distributions are nearly uniform
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in scorers[0].model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return scorers[0]


def test_first_tokens_come_as_often_as_they_should(student):
    engine = TransformersEngine(student, settings(max_new_tokens=1, batch_size=1000))
    prompt = np.array([student.view.start_id, *b"The quick"])
    answers = engine([prompt] * 4000, seed=3)
    stops = set(engine.stop_ids)
    found = [a.stop_id if a.stop_id is not None else int(a.ids[0]) for a in answers]
    assert all(
        (a.stop_id is None) == (int(f) not in stops) for a, f in zip(answers, found, strict=True)
    )
    expected = logprobs_of(student, prompt).exp()
    counts = torch.bincount(torch.tensor(found), minlength=len(expected)) / len(found)
    error = (expected * (1 - expected) / len(found)).sqrt()
    assert ((counts - expected).abs() < 5 * error + 1e-3).all()
    assert expected.max() > 0.02


def test_rows_of_all_lengths_are_sampled_from_their_own_prompts(student):
    """With top_p next to 0 the likeliest token is drawn: a loop without cache or padding."""
    engine = TransformersEngine(student, settings(max_new_tokens=5, top_p=1e-6, batch_size=3))
    texts = [b"The", b"The quick brown fox", b"", b"It cost 5", b"a"]
    prompts = [np.array([student.view.start_id, *text]) for text in texts]
    for prompt, answer in zip(prompts, engine(prompts, seed=0), strict=True):
        ids = prompt.tolist()
        expected = []
        for _ in range(5):
            likeliest = int(logprobs_of(student, ids).argmax())
            if likeliest in engine.stop_ids:
                break
            expected.append(likeliest)
            ids.append(likeliest)
        assert answer.ids.tolist() == expected
        assert (answer.stop_id is None) == (len(expected) == 5)


def test_what_is_sampled_depends_on_the_seed_alone(student):
    engine = TransformersEngine(student, settings())
    prompts = [np.array([student.view.start_id, *b"The quick"])] * 3
    state = torch.get_rng_state()
    student.model.train()
    first, again, other = (engine(prompts, seed=seed) for seed in (1, 1, 2))
    assert [a.ids.tolist() for a in first] == [a.ids.tolist() for a in again]
    assert [a.ids.tolist() for a in first] != [a.ids.tolist() for a in other]
    # neither the run's random numbers nor the student's mode change
    assert torch.equal(torch.get_rng_state(), state)
    assert student.model.training
    assert len({tuple(a.ids.tolist()) for a in first}) == 3


def test_under_autocast_the_student_is_still_trained(student, scorers):
    engine = TransformersEngine(student, settings(max_new_tokens=2))
    prompt = torch.tensor([[student.view.start_id, *b"The quick"]])
    gradients = []
    for samples in (False, True):
        student.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            if samples:
                engine([prompt[0].numpy()], seed=0)
            student.model(input_ids=prompt, labels=prompt).loss.backward()
        gradients.append(
            {n: p.grad.clone() for n, p in student.model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_prompts_are_those_of_the_documents(scorers):
    prompts = prompts_of(scorers)
    generator = np.random.default_rng(0)
    places = {prompts.draw(generator) for _ in range(200)}
    assert places == set(range(8))
    asked = prompts.asked(3)
    # before a space: a word is not cut
    assert bytes(asked.ids[1:].tolist()) == b"The quick brown"
