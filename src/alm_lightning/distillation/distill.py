"""`alm_lightning.distill`: a training run as one function."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from transformers import PreTrainedModel

from alm_lightning.alignment.boundaries import ChunkSelection
from alm_lightning.corpus.document_store import InMemory
from alm_lightning.corpus.reading import Stored
from alm_lightning.data.examples import AllWindows, FirstWindow
from alm_lightning.data.packing import OnePerRow, Packing
from alm_lightning.data.pairing import ALL_TRAINED, ChatSettings
from alm_lightning.distillation import options
from alm_lightning.distillation.arguments import (
    check_given,
    check_one_model,
    check_run,
    check_trainer_arguments,
    is_one_model,
)
from alm_lightning.distillation.checks import check_numbers, chosen_precision, chosen_workers
from alm_lightning.distillation.data import ON_BAD_DOCUMENT, DataPlan
from alm_lightning.distillation.export import flat
from alm_lightning.distillation.figures import summary_of
from alm_lightning.distillation.inputs import (
    Change,
    Model,
    Taught,
    Tokenizer,
    cut_bytes_of,
    model_input,
    teacher_input,
    tokenizer_change,
    unchanged,
)
from alm_lightning.distillation.models import PairPlan, TeacherInput
from alm_lightning.distillation.outputs import empty_folder, trainer_outputs
from alm_lightning.distillation.quiet import quiet_warnings
from alm_lightning.distillation.result import DistillResult
from alm_lightning.distillation.rows import TeacherRows
from alm_lightning.distillation.run import Plan, run
from alm_lightning.distillation.stores import SeveralScores, StoredScores
from alm_lightning.distillation.texts import Texts, corpora_of
from alm_lightning.likelihood.hardware import uses_cuda
from alm_lightning.models.adapters import FullFineTuning, LowRank
from alm_lightning.models.speed import Speed
from alm_lightning.objectives.combine import Balance
from alm_lightning.objectives.objective import Objective
from alm_lightning.scores.ensemble import LOSSES
from alm_lightning.training.on_policy import OnPolicy
from alm_lightning.training.schedule import LinearWarmupDecay
from alm_lightning.training.sharding import ShardedStrategy


def distill(
    student: Model,
    *,
    data: Texts,
    teacher: Taught | None = None,
    tokenizer: Tokenizer | Change | None = None,
    student_tokenizer: Tokenizer | None = None,
    teacher_tokenizer: Tokenizer | None = None,
    teacher_weights: Sequence[float | int] | None = None,
    combine: str = "losses",
    other_data: Texts | None = None,
    column: str | None = None,
    heldout_share: float = 0.1,
    on_bad_document: str = "error",
    objective: str | Objective | Mapping[str, Objective] = "next_byte_hidden",
    balance: str | Balance = "gradmag",
    alignment: str | ChunkSelection = "finest",
    embeddings: str | Callable[..., PreTrainedModel] | None = None,
    adapter: str | FullFineTuning | LowRank = "full",
    special_tokens: Sequence[str] = (),
    stop_tokens: Sequence[str] = (),
    chat: ChatSettings | None = None,
    packing: Packing | None = None,
    on_policy: OnPolicy | None = None,
    steps: int = 60,
    batch_size: int = 4,
    micro_batch_size: int | str = 4,
    student_length: int = 256,
    teacher_length: int = 256,
    learning_rate: float = 3e-4,
    gradient_clip: float | None = 1.0,
    evaluation_windows: int = 48,
    validate_every: int | None = None,
    seed: int = 0,
    num_workers: int | str = "auto",
    dtype: str = "auto",
    precision: str = "auto",
    speed: str | Speed = "none",
    accelerator: str = "auto",
    devices: int | str | Sequence[int] = 1,
    trainer: Mapping[str, Any] | None = None,
    callbacks: Sequence[L.Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
    progress: bool = True,
    output_dir: str | Path | None = None,
) -> DistillResult:
    """Distils a teacher into a student with a tokenizer of its own choice.

    The defaults are those of the command line. Names that stand for objects are those of `conf/`.
    Models that are given are left as they are: the student is a copy. With ``adapter="lora"`` and
    no other teacher, the student shares the frozen weights of the given model, whose parameters
    have ``requires_grad=False`` afterwards. The random generators of Python, NumPy and torch are
    seeded.

    Args:
        student: The model that the student starts as: a model of transformers, a folder, or a name
            of the hub.
        data: Text to train on: a path (JSON lines, Parquet, plain text), a `datasets.Dataset`, or
            an iterable of texts or of chats. A chat is a list of ``{"role": ..., "content": ...}``.
        teacher: The model that teaches; None for `student` as it is. Or a folder that `alm-score`
            wrote, with what a model said of the same data: texts are cut as they were for it, and
            of texts that were not cut the first window of each is read. A list of such folders are
            several teachers.
        tokenizer: The student's: ``bytes``, a tokenizer of transformers, what `load_tokenizer`
            reads or gives, or a function from the old tokenizer to the new. None: it keeps its own.
        student_tokenizer: Of a student that is an object; None for that of its `name_or_path`.
        teacher_tokenizer: The same of a teacher that is another model.
        teacher_weights: How much each of several teachers counts; None for all alike.
        combine: How several are combined: ``losses``, ``mixture`` or ``geometric``.
        other_data: Text of another domain, to evaluate on.
        column: Of `data` with columns, and of `other_data` where it has this one; None for
            ``text`` or ``messages``.
        heldout_share: Share of the documents that are evaluated on, and not trained on.
        on_bad_document: ``error``, or ``skip`` for documents that can't be used.
        objective: ``next_byte_hidden``, ``next_byte``, ``alm``, ``alm_next_token`` or another name
            of `OBJECTIVES`, an `Objective`, or several by name.
        balance: How terms are weighed: ``gradmag``, ``gradnorm`` or a `Balance`.
        alignment: ``finest``, ``whitespace`` or an object such as `BiasThreshold`.
        embeddings: How the student's embeddings start: ``bytes``, ``fvt``, ``mean``, ``keep``,
            ``own`` or an object; None for what goes with `tokenizer`.
        adapter: ``full``, ``lora`` or an object: what is trained.
        special_tokens: Special tokens to keep beside BOS, EOS, pad and those of the chat template.
        stop_tokens: Of those, where generation stops, besides EOS, the end of a turn, and where
            the generation settings of the student's model do.
        chat: How chats are paired; None: every message is trained on.
        packing: Which windows share a row; None for one a row.
        on_policy: How many sequences of a step are the student's own answers; None for none.
        steps: Optimizer steps.
        batch_size: Sequences of a step, over all devices.
        micro_batch_size: Sequences of a forward pass; ``auto`` for as many as fit.
        student_length: The most tokens of a student's sequence.
        teacher_length: The most tokens of a teacher's sequence.
        learning_rate: Peak learning rate of AdamW.
        gradient_clip: Largest norm of the gradient; None clips nothing.
        evaluation_windows: The most sequences of each evaluation set.
        validate_every: Steps between evaluations; None for before and after alone.
        seed: Of the order of the data, and of what is drawn.
        num_workers: Processes that pair and collate; 0 for this one, ``auto`` for several beside a
            GPU.
        dtype: Of weights that are loaded; ``auto`` is bfloat16 where the hardware multiplies it.
        precision: ``bf16-mixed``, ``32-true``, or ``auto`` for what the hardware multiplies fast.
        speed: How models compute: ``none`` for as they are, ``gpu`` for checkpointing, compilation
            and the fastest attention, or a `Speed`.
        accelerator: As Lightning names it: ``cpu``, ``gpu``, ``auto``.
        devices: As Lightning takes them.
        trainer: More arguments of `lightning.Trainer`, such as a strategy; not those that have an
            argument here, as ``max_steps`` has in `steps`.
        callbacks: Callbacks of Lightning; a `ModelCheckpoint` among them writes checkpoints.
        logger: Loggers of Lightning; None for a metrics.csv in `output_dir`, if that is given.
        progress: Whether a bar is shown.
        output_dir: A folder for logs and checkpoints, which must not exist or be empty; None writes
            nothing.

    Returns:
        The student, its tokenizer, and what was measured.

    Raises:
        TypeError: A model, a tokenizer or the text is of another type than is expected.
        ValueError: An argument is not what is expected of it, or two do not go together.
    """
    check_numbers(
        {
            "steps": steps,
            "batch_size": batch_size,
            "micro_batch_size": micro_batch_size,
            "student_length": student_length,
            "teacher_length": teacher_length,
            "learning_rate": learning_rate,
            "gradient_clip": gradient_clip,
            "evaluation_windows": evaluation_windows,
            "validate_every": validate_every,
            "seed": seed,
            "num_workers": num_workers,
        }
    )
    extra = dict(trainer or {})
    check_run(steps=steps, on_bad_document=on_bad_document)
    check_trainer_arguments(extra, precision=precision, accelerator=accelerator)
    folder = None if output_dir is None else empty_folder(Path(output_dir).expanduser())
    terms = options.terms(objective)
    is_one = is_one_model(student, teacher)
    if is_one:
        check_one_model(terms, tokenizer, teacher_tokenizer=teacher_tokenizer, chat=chat)
    made, own_embeddings = tokenizer_change(
        tokenizer, student=str(getattr(student, "name_or_path", student)), keep=special_tokens
    )
    base = model_input(student, student_tokenizer, argument="student", dtype=dtype)
    teaching: TeacherInput = base
    if not is_one or teacher_weights is not None or combine != LOSSES:
        teaching = teacher_input(
            student if teacher is None else teacher,
            teacher_tokenizer,
            dtype=dtype,
            weights=teacher_weights,
            combine=combine,
        )
    pair = PairPlan(
        student=base,
        teacher=teaching,
        differences=() if teaching is base else ("weights",),
        tokenizer=made,
        embeddings=options.option(
            "embeddings", embeddings or own_embeddings, options.embeddings(seed)
        ),
        adapter=options.adapter_of(adapter, can_share=teaching is base),
        stop_tokens=stop_tokens,
        speed=options.option("speed", speed, options.SPEEDS),
    )
    corpora = corpora_of(
        {"data": data, "other_data": other_data}, column=column, heldout_share=heldout_share
    )
    cut_bytes = cut_bytes_of(teaching)
    is_scored = isinstance(teaching, StoredScores | SeveralScores)
    pairing = DataPlan(
        corpus=corpora["data"],
        other=corpora.get("other_data"),
        reading=Stored(store=InMemory()),
        # a store of texts that are not cut has the start of each, and nothing else
        dataset=FirstWindow if is_scored and cut_bytes is None else AllWindows,
        on_bad=ON_BAD_DOCUMENT[on_bad_document](),
        alignment=options.option("alignment", alignment, options.ALIGNMENTS),
        chat=chat or ALL_TRAINED,
        has_own_specials=False,
        packing=packing or OnePerRow(),
        student_length=student_length,
        teacher_length=teacher_length,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        steps=steps,
        evaluation_windows=evaluation_windows,
        seed=seed,
        validate_during_fit=validate_every is not None,
        num_workers=chosen_workers(num_workers, accelerator),
        pins_memory=uses_cuda(accelerator),
        cut_bytes=cut_bytes,
    )
    chosen_balance = options.option("balance", balance, options.BALANCES)
    recipe = {
        "tokenizer": "own" if tokenizer is None else str(getattr(tokenizer, "name", tokenizer)),
        **options.described_each(
            embeddings=pair.embeddings,
            adapter=pair.adapter,
            balance=chosen_balance,
            alignment=pairing.alignment,
            speed=pair.speed,
            on_policy=on_policy,
        ),
        "objective": options.described_each(**terms),
        "steps": steps,
        "batch_size": batch_size,
        "student_length": student_length,
        "teacher_length": teacher_length,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
    }
    plan = Plan(
        pair=pair,
        data=pairing,
        objective=terms,
        balance=chosen_balance,
        optimizer=partial(torch.optim.AdamW, lr=learning_rate, **options.OPTIMIZER),
        schedule=LinearWarmupDecay(warmup_share=options.WARMUP_SHARE, num_steps=steps),
        gradient_clip=gradient_clip,
        trainer=partial(
            L.Trainer,
            **{
                **options.TRAINER,
                **trainer_outputs(folder, logger, callbacks, progress=progress),
                "accelerator": accelerator,
                "devices": devices,
                "precision": chosen_precision(precision, accelerator),
                "max_steps": steps,
                "limit_train_batches": steps,
                "val_check_interval": validate_every,
                # what a validation gathers of spread weights is trained on later
                "inference_mode": not isinstance(extra.get("strategy"), ShardedStrategy),
                **extra,
            },
        ),
        accelerator=accelerator,
        config=recipe,
        on_policy=on_policy,
    )
    given = [model for model in (student, teacher) if isinstance(model, PreTrainedModel)]
    check_given(given, pair.speed)
    with warnings.catch_warnings(), unchanged(given, is_shared=pair.adapter.share_body):
        quiet_warnings()
        outcome = run(plan)
    outcome.student.model.eval()
    pair.speed.undo(outcome.student.model)
    return DistillResult(
        scorer=outcome.student,
        metrics=summary_of(outcome),
        base=base,
        teacher=teaching,
        terms=list(terms),
        recipe=flat(recipe),
        teacher_rows=TeacherRows.of(pair, outcome.student, outcome.teacher),
    )
