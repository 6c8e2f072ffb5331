"""Continuations of a prompt, by any model that its tokenizer's view comes with."""

import torch

from alm_lightning.models.pair import Scorer


@torch.inference_mode()
def continuation(scorer: Scorer, prompt: str, *, num_bytes: int) -> str:
    """A greedy continuation of a prompt.

    Args:
        scorer: Model and tokenizer.
        prompt: The text to continue; special tokens in it are text.
        num_bytes: How long the continuation is at most, in bytes.

    Returns:
        The text that follows the prompt, cut at `num_bytes`, up to the first special token.
    """
    view, model = scorer.view, scorer.model
    ids = torch.tensor([[view.start_id, *view.encode(prompt, name="prompt").ids.tolist()]])
    ids = ids.to(model.device)
    was_training = model.training
    model.eval()
    # a token spells at least one byte, so there are never more tokens than bytes
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=num_bytes,
        do_sample=False,
        pad_token_id=view.roles.get("pad", view.roles["eos"]),
        stopping_criteria=[_LongEnough(view.byte_lengths, ids.shape[1], num_bytes)],
    )
    model.train(was_training)
    spelled = b""
    for index in output[0, ids.shape[1] :].tolist():
        surface = view.token_bytes[index]
        if surface is None:
            break
        spelled += surface
    return spelled[:num_bytes].decode("utf-8", errors="replace")


class _LongEnough:
    """Stops the only row of a batch once it spells enough bytes."""

    def __init__(self, byte_lengths, prompt_length: int, num_bytes: int):
        self.byte_lengths, self.prompt_length = byte_lengths, prompt_length
        self.num_bytes = num_bytes

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor | None, **kwargs
    ) -> torch.Tensor:
        new_ids = input_ids[0, self.prompt_length :].cpu().numpy()
        done = bool(self.byte_lengths[new_ids].sum() >= self.num_bytes)
        return torch.full((len(input_ids),), done, device=input_ids.device)
