"""The student's own answers a second, against what the bare model generates.

    python benchmarks/own_answers.py [experiment=...] [group=option] [key=value]

The engine of `on_policy`, and transformers' `generate` with the same model, the same prompts and
transformers' own sampling, take turns with the processor, in the type of the weights.
Each answers `on_policy.batch_size` prompts of the corpus, which share a batch; `budget.steps` says
how often. Medians are compared, of all turns but the first. Tokens are counted up to the end of
each answer; a batch takes as long as its longest one.
"""

import statistics
import sys
from pathlib import Path

import hydra
import numpy as np
import torch
from transformers import GenerationConfig

from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.train.build import build_trainer, plan_of
from alm_lightning.app.train.checks import check_settings
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.models.generation import left_padded, without_settings
from step import Timer

CONF = Path(__file__).resolve().parents[1] / "conf"
DEFAULTS = ["paths.output_dir=outputs/benchmark", "trainer=cpu", "on_policy=half", "budget.steps=6"]


def runs(arguments: list[str]) -> dict[str, list[str]]:
    """What is composed, by name."""
    return {"own answers": [*DEFAULTS, *arguments]}


def main() -> None:
    """Prints tokens and answers a second of both ways, and their ratio."""
    quiet_warnings()
    (overrides,) = runs(sys.argv[1:]).values()
    register_models(CONF)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", overrides)
    if cfg.budget.steps < 2:
        sys.exit(f"budget.steps={cfg.budget.steps}: expected at least 2, of which one warms up.")
    check_settings(cfg)
    plan = plan_of(cfg)
    documents = plan.data.read()
    student, teacher = plan.pair.build(plan.accelerator)
    data = plan.data.pair(documents, student, teacher)
    own = plan.own_answers(documents, data, student, build_trainer(cfg))
    if own is None:
        sys.exit("on_policy.share is 0: expected a share of answers, as with on_policy=half.")
    model, settings = student.model.eval(), own.settings
    generator = np.random.default_rng(cfg.seed)
    places = [own.prompts.draw(generator) for _ in range(settings.batch_size)]
    prompts = [own.prompts.asked(place).ids for place in places]
    pad = student.view.roles.get("pad", student.view.start_id)
    ids, mask = (each.to(model.device) for each in left_padded([p.tolist() for p in prompts], pad))

    def engine(seed: int) -> int:
        answers = own.engine(prompts, seed=seed)
        # the stop token was generated as well
        return sum(len(answer.ids) + (answer.stop_id is not None) for answer in answers)

    @torch.no_grad()
    def bare(seed: int) -> int:
        torch.manual_seed(seed)
        chosen = GenerationConfig(
            do_sample=True,
            temperature=float(settings.temperature),
            top_p=float(settings.top_p),
            top_k=0,
            max_new_tokens=settings.max_new_tokens,
            pad_token_id=pad,
            eos_token_id=own.engine.stop_ids,
        )
        with without_settings(model):
            found = model.generate(ids, attention_mask=mask, generation_config=chosen)
        rows = found[:, ids.shape[1] :]
        stops = torch.isin(rows, torch.tensor(own.engine.stop_ids, device=rows.device))
        # up to the first stop token of each row, which counts
        return int(((stops.cumsum(1) - stops.long()) == 0).sum())

    rates: dict[str, list[float]] = {"engine": [], "bare model": []}
    seconds: dict[str, list[float]] = {name: [] for name in rates}
    for seed in range(cfg.budget.steps):
        for name, way in (("engine", engine), ("bare model", bare)):
            timer = Timer()
            with timer:
                num_tokens = way(seed)
            seconds[name] += timer.seconds
            rates[name].append(num_tokens / timer.seconds[0])
    print(f"{len(prompts)} prompts, at most {settings.max_new_tokens} tokens, {model.dtype}")
    print("| | tokens a second | answers a second |", "|---" * 3 + "|", sep="\n")
    medians = {name: statistics.median(found[1:]) for name, found in rates.items()}
    for name, rate in medians.items():
        answers = len(prompts) / statistics.median(seconds[name][1:])
        print(f"| {name} | {rate:.1f} | {answers:.3f} |")
    print(f"engine / bare model {medians['engine'] / medians['bare model']:.3f}")


if __name__ == "__main__":
    main()
