"""The student's own answers where weights are spread over ranks: those of ranks with whole ones."""

import csv

import lightning as L
import numpy as np
import pytest
import torch
from tests.distributed.ranks import on_ranks
from tests.distributed.small_run import fit, make_module, shared_steps
from tests.distributed.test_spread import TERMS, Seen, pairs  # noqa: F401  # a fixture
from tests.unit.training.on_policy.own import own_answers, settings
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from alm_lightning.data.collator import Collator
from alm_lightning.models.structure import layers_of
from alm_lightning.training.on_policy import TransformersEngine
from alm_lightning.training.sharding import ShardedStrategy

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
]
NUM_STEPS, RANKS = 3, 2


@pytest.mark.parametrize(
    ("pair", "terms"), [("bytes", "next_byte_hidden"), ("adapters", "alm_next_token")]
)
def test_spread_weights_give_the_answers_of_whole_ones(pairs, rows, tmp_path, pair, terms):  # noqa: F811
    student, teacher = pairs(pair)
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    # in the second step one rank has no text, and must sample all the same
    whole, shares = shared_steps(collator, rows[:8], num_steps=NUM_STEPS, world_size=RANKS)

    def trained(rank, seen, **settings):
        torch.manual_seed(1)
        module = make_module((student, teacher), TERMS[terms]())
        module.own_answers = own_answers(
            (student, teacher),
            collator,
            share=0.5,
            every=1,
            # of each rank
            batch_size=4,
            num_steps=NUM_STEPS,
        )
        engine = TransformersEngine(student, module.own_answers.settings)
        sampled = []

        def noted(prompts, *, seed):
            answers = engine(prompts, seed=seed)
            sampled.extend(answer.ids.tolist() for answer in answers)
            return answers

        module.own_answers.engine = noted
        curve = fit(module, shares[rank], callbacks=seen, devices=RANKS, **settings)
        return curve, sampled

    def spread(rank):
        strategy = ShardedStrategy(shard_teacher=True)
        return trained(rank, [Seen(whole[0][0])], strategy=strategy)

    found = on_ranks(spread, RANKS, tmp_path / "spread")
    expected = on_ranks(lambda rank: trained(rank, [], strategy="ddp"), RANKS, tmp_path / "ddp")
    for (curve, sampled), (curve_of_whole, sampled_of_whole) in zip(found, expected, strict=True):
        # two of four sequences of each rank, in three steps
        assert len(sampled) == 6
        assert sampled == sampled_of_whole
        for values, values_of_whole in zip(curve, curve_of_whole, strict=True):
            assert values == pytest.approx(values_of_whole, rel=1e-5, abs=1e-6)


def test_every_rank_calls_as_often_as_it_likes_and_gives_all_back(pairs, rows, tmp_path):  # noqa: F811
    student, teacher = pairs("bytes")
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    torch.manual_seed(1)
    module = make_module((student, teacher), TERMS["alm_next_token"]())
    prompt = [np.array([student.view.start_id, 65])]
    engine = TransformersEngine(student, settings(max_new_tokens=12))
    expected = [engine(prompt, seed=seed)[0].ids.tolist() for seed in range(3)]

    class Sampled(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            gathered = pl_module._spread.student.all_gathered
            with gathered():
                # other numbers of calls, before any other: what waits for ranks would wait forever
                seeds = range(1 + 2 * trainer.global_rank)
                self.found = [engine(prompt, seed=seed)[0].ids.tolist() for seed in seeds]
            with pytest.raises(RuntimeError, match="of the engine"), gathered():
                raise RuntimeError("of the engine")
            body = pl_module._spread.student._body
            parts = [m for m in body.modules() if isinstance(m, FSDPModule)]
            self.stay = [p._get_fsdp_state()._fsdp_param_group for p in parts]
            self.stay = [group.post_forward_mesh_info is not None for group in self.stay]
            self.is_spread = all(isinstance(p, DTensor) for p in pl_module.student.parameters())

    def work(rank):
        sampled = Sampled()
        strategy = ShardedStrategy(shard_teacher=True)
        fit(module, [collator(rows[:2])], callbacks=[sampled], strategy=strategy, devices=RANKS)
        noted = module._spread.teacher._body._get_fsdp_state()._comm_ctx.post_forward_order
        assert not noted, "forward passes of a model without backward passes add up"
        return sampled.found, sampled.stay, sampled.is_spread

    results = on_ranks(work, RANKS, tmp_path)
    num_blocks = len(layers_of(student.model))
    for rank, (found, given_back, is_all_spread) in enumerate(results):
        assert found == expected[: 1 + 2 * rank]
        assert is_all_spread
        # blocks but the last, as before
        assert sum(given_back) == num_blocks - 1


def curve(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("train/alm", "train/teacher_tokens", "on_policy/tokens", "on_policy/ended")
    return {int(row["step"]): [float(row[n]) for n in names] for row in rows if row["train/alm"]}


def test_a_run_goes_on_with_the_same_answers(run_apart, tmp_path):
    """In mixed precision; answers that are not used yet are in the folder of each step."""

    def run(name, *overrides):
        said = [
            *("trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2"),
            "trainer.precision=bf16-mixed",
            *("objective=alm", "on_policy=half", "on_policy.begins=0", "on_policy.every=3"),
            *("on_policy.max_new_tokens=8", "budget.steps=4", "budget.batch_size=4"),
            *("budget.checkpoint_every=1", "callbacks.checkpoint.save_top_k=-1"),
            *("sample_prompts=0", f"hydra.run.dir={tmp_path / name}", *overrides),
        ]
        finished = run_apart(*said, cwd=tmp_path, without=("trainer",))
        assert finished.returncode == 0, finished.stderr
        return curve(tmp_path / name)

    whole = run("whole")
    rest = run("rest", f"ckpt_path={tmp_path}/whole/checkpoints/step_2.ckpt")
    assert sorted(whole) == [0, 1, 2, 3]
    assert rest == {step: pytest.approx(whole[step], rel=1e-5) for step in (2, 3)}
