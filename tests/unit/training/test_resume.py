import pytest

from alm_lightning.training.resume import check_continued, completed

CONFIG = {
    "seed": 0,
    "alignment": {"threshold": 0.1, "workers": 2, "cache_folder": "/home/one"},
    "num_workers": 2,
}


def changed(**changes):
    return CONFIG | {"alignment": CONFIG["alignment"] | changes}


def test_another_machine_goes_on():
    """How many processes count, and where the result lies, changes no step."""
    check_continued(CONFIG, changed(workers=0, cache_folder="/home/other") | {"num_workers": 0})


def test_what_changes_the_curve_is_refused():
    with pytest.raises(ValueError, match=r"alignment\.threshold: 0\.1 then, 0\.01 now"):
        check_continued(CONFIG, changed(threshold=0.01))


def test_another_teacher_is_refused():
    """What the student is to become is part of the curve, though its own model is the same."""
    stopped = CONFIG | {"student": {"name": "one"}, "teacher": {"name": "one", "dtype": "float32"}}
    check_continued(stopped, stopped | {"teacher": {"name": "one", "dtype": "bfloat16"}})
    with pytest.raises(ValueError, match=r"teacher\.name: 'one' then, 'other' now"):
        check_continued(stopped, stopped | {"teacher": {"name": "other", "dtype": "float32"}})


def test_settings_that_did_not_exist_are_what_runs_did():
    now = CONFIG | {"tokenizer": {"name": "bytes", "special_tokens": "keep"}}
    before = CONFIG | {"tokenizer": {"name": "bytes"}}
    check_continued(before, now)
    now["tokenizer"]["special_tokens"] = "replace"
    with pytest.raises(ValueError, match=r"tokenizer.special_tokens: 'keep' then, 'replace' now"):
        check_continued(before, now)


def test_a_split_by_question_is_another_run():
    before = {"corpus": {"split_seed": 0}}
    check_continued(before, {"corpus": {"split_seed": 0, "split_by": "document"}})
    with pytest.raises(ValueError, match=r"corpus\.split_by: 'document' then, 'question' now"):
        check_continued(before, {"corpus": {"split_seed": 0, "split_by": "question"}})


def test_what_samples_is_part_of_the_curve_and_its_memory_is_not():
    package = "alm_lightning.training.on_policy"
    vllm = {"_target_": f"{package}.VllmSettings", "memory_share": 0.3, "sleeps": True}
    transformers = {"_target_": f"{package}.TransformersSettings"}
    # from before there was another engine
    before = {"on_policy": {"share": 0.5}}
    check_continued(before, {"on_policy": {"share": 0.5, "engine": transformers}})
    with pytest.raises(ValueError, match=r"on_policy\.engine\._target_: .*Transformers.* then"):
        check_continued(before, {"on_policy": {"share": 0.5, "engine": vllm}})
    stopped = {"on_policy": {"share": 0.5, "engine": vllm}}
    more = {"memory_share": 0.5, "sleeps": False}
    check_continued(stopped, {"on_policy": {"share": 0.5, "engine": vllm | more}})


def test_an_older_configuration_is_completed_with_what_runs_did():
    then = {"objective": {"next_byte": {"end": "drop"}}, "seed": 0}
    now = {
        "objective": {"next_byte": {"end": "drop", "divergence": "jsd"}},
        "on_policy": {"share": 0.5},
        "seed": 0,
    }
    expected = {
        "objective": {"next_byte": {"end": "drop", "divergence": "kl"}},
        "on_policy": {"share": 0.0},
        "seed": 0,
    }
    assert completed(then, now) == expected
    # what is set is kept, and what today's run has no setting of is not made up
    assert completed(now, now) == now
    assert completed({"seed": 0}, {"seed": 0}) == {"seed": 0}
    null = {"objective": {"next_byte": None}}
    assert completed(null, {"objective": now["objective"]}) == null


OPTIMIZER = {
    "_target_": "torch.optim.AdamW",
    "_partial_": True,
    "lr": 1e-3,
    "betas": [0.9, 0.95],
    "weight_decay": 0.0,
    "fused": True,
}
SCHEDULE = {
    "_target_": "alm_lightning.training.schedule.LinearWarmupDecay",
    "warmup_share": 0.1,
    "num_steps": 60,
}


@pytest.mark.parametrize(
    ("node", "change", "line"),
    [
        (
            "optimizer",
            {"betas": [0.9, 0.999]},
            r"betas: \[0\.9, 0\.95\] then, \[0\.9, 0\.999\] now",
        ),
        ("optimizer", {"weight_decay": 0.1}, r"weight_decay: 0\.0 then, 0\.1 now"),
        ("optimizer", {"eps": 1e-6}, r"eps: 'not set' then, 1e-06 now"),
        ("optimizer", {"_target_": "torch.optim.SGD"}, r"_target_: 'torch\.optim\.AdamW' then"),
        ("schedule", {"warmup_share": 0.2}, r"warmup_share: 0\.1 then, 0\.2 now"),
        ("schedule", {"_target_": "mine.Cosine"}, r"_target_: .*LinearWarmupDecay' then, 'mine"),
    ],
)
def test_optimizer_and_schedule_are_part_of_the_curve(node, change, line):
    """A checkpoint brings their settings along, so that others would have no effect, unsaid."""
    stopped = CONFIG | {"optimizer": OPTIMIZER, "schedule": SCHEDULE}
    now = stopped | {node: stopped[node] | change}
    with pytest.raises(ValueError, match=rf"  {node}\.{line}"):
        check_continued(stopped, now)


def test_another_kernel_of_the_optimizer_goes_on():
    stopped = CONFIG | {"optimizer": OPTIMIZER}
    check_continued(stopped, CONFIG | {"optimizer": OPTIMIZER | {"fused": False}})
    without = {name: value for name, value in OPTIMIZER.items() if name != "fused"}
    check_continued(stopped, CONFIG | {"optimizer": without})
