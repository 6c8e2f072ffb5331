"""What combining models costs beyond running them, in one run.

    python benchmarks/ensemble_speed.py FOLDER FOLDER ... [--combine mean_logprob] [--tokens 64]
    python benchmarks/ensemble_speed.py --tiny

Greedy decoding of one text by each member alone and by the ensemble, all by transformers'
`generate`. The ratio of the ensemble's tokens/s to 1 / (sum of the members' seconds per token) is 1
where combining costs nothing. Members and ensemble take turns, and medians are compared, since the
machine may be shared.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.models import loading

PROMPT_TOKENS = 16
TINY = ((64, 2), (96, 3))
"""Widths and depths of random members: the cost of combining shows most where models are small."""


def tiny_models(vocab_size: int) -> list[LlamaForCausalLM]:
    return [
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocab_size,
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=depth,
                num_attention_heads=4,
                num_key_value_heads=2,
            )
        ).eval()
        for width, depth in TINY
    ]


def seconds_per_token(model, ids: torch.Tensor, tokens: int) -> float:
    started = time.perf_counter()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return (time.perf_counter() - started) / tokens


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--combine", default="mean_prob")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    return parser


def main() -> None:
    options = _parser().parse_args()
    if options.tiny == bool(options.folders):
        _parser().error("give folders of models, or --tiny")
    if options.tiny:
        members = tiny_models(49_152)
    else:
        dtype = loading.torch_dtype(options.dtype)
        members = [AutoModelForCausalLM.from_pretrained(f, dtype=dtype) for f in options.folders]
    members = [member.to(options.device).eval() for member in members]
    ensemble = Ensemble(members, options.combine)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 200, (1, PROMPT_TOKENS), generator=generator).to(options.device)
    measured: list[list[float]] = [[] for _ in range(len(members) + 1)]
    for _ in range(options.rounds):
        for seconds, model in zip(measured, (*members, ensemble), strict=True):
            seconds.append(seconds_per_token(model, ids, options.tokens))
    # the first round pays for memory that later ones find allocated
    *alone, together = (statistics.median(seconds[1:]) for seconds in measured)
    for place, seconds in enumerate(alone):
        print(f"member {place:<21} {1 / seconds:8.2f} tokens/s")
    print(f"{'sum of the members':28} {1 / sum(alone):8.2f} tokens/s")
    print(f"{'ensemble':28} {1 / together:8.2f} tokens/s")
    print(f"{'ensemble / sum':28} {sum(alone) / together:8.3f}")


if __name__ == "__main__":
    main()
