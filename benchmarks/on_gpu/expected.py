"""How much memory a recipe takes on a card, by arithmetic: weights, states, passes, loss."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from alm_lightning.likelihood.blocks import ACCELERATOR_BLOCK_SIZE, BLOCK_SIZES
from alm_lightning.likelihood.slices import ACCELERATOR_SLICE_ELEMENTS
from alm_lightning.objectives.chunks.token_bytes import COPIES
from on_gpu import shapes, vocabularies
from on_gpu.traced import Passes, traced

FLOAT32, BFLOAT16 = 4, 2
STATES = {"adamw": 2.0 * FLOAT32, "adamw_8bit": 2.0 * (1 + FLOAT32 / 256)}
"""Bytes of both moments of a weight; blocks of 256 weights share a scale."""
SHARED = (
    *("student's weights", "old embeddings (expansion)", "teacher's weights"),
    *("gradients", "optimizer's states"),
)
"""Parts that FSDP shares between cards."""
CARD = 80e9
"""Bytes of the card that each recipe is to fit."""
OUTSIDE = 1.5 * 2**30
"""What a process takes besides torch's tensors: CUDA's context, libraries, holes between blocks."""


@dataclass(frozen=True)
class Job:
    """What decides over a recipe's memory.

    Attributes:
        student: A name of `shapes.MODELS`.
        teacher: Likewise; None where it is the model that the student starts as.
        student_tokens: Rows of the student's vocabulary.
        teacher_tokens: Rows of the teacher's.
        old_tokens: Rows of frozen old embeddings beside the student's (input expansion).
        sequences: Of a micro-batch.
        student_length: Tokens of each.
        teacher_length: The same for the teacher.
        rank: Of low-rank adapters on a body that both models share; None trains everything.
        hidden_states: Whether hidden states at the ends of chunks are compared.
        distributions: Whether whole distributions are (next byte).
        micro_batches: Of a step, whose teacher's sides are all held.
        attention: ``eager``, or ``sdpa``, which stands for flex_attention too.
        checkpointing: Whether blocks of the student are computed again.
        optimizer: A key of `STATES`.
        changes: Of the student's sizes, and of a teacher's that is of the same kind.
        autocast: Whether float32 weights are multiplied in bfloat16.
        device: Whose blocks of logits.
    """

    student: str
    student_tokens: int
    teacher_tokens: int
    sequences: int
    student_length: int
    teacher_length: int
    teacher: str | None = None
    old_tokens: int = 0
    rank: int | None = None
    hidden_states: bool = False
    distributions: bool = False
    micro_batches: int = 8
    attention: str = "sdpa"
    checkpointing: bool = True
    optimizer: str = "adamw"
    changes: tuple[tuple[str, int], ...] = ()
    autocast: bool = True
    device: str = "cuda"


SIZES = vocabularies.SIZES
JOBS = {
    "bytes": Job(
        *("gemma2_2b", 264, SIZES["gemma2"], 4, 2048, 512),
        old_tokens=SIZES["gemma2"],
        hidden_states=True,
        distributions=True,
    ),
    "subword": Job(
        "gemma2_2b", SIZES["qwen2"], SIZES["gemma2"], 4, 512, 512, rank=64, micro_batches=16
    ),
    "maths": Job(
        *("gemma2_2b", SIZES["gemma2"], SIZES["llama3"], 4, 1024, 1024),
        teacher="llama3_8b",
        micro_batches=16,
    ),
    "gemma3_12b": Job(
        "gemma3_12b", SIZES["qwen2"], SIZES["gemma2"], 4, 512, 512, rank=64, micro_batches=16
    ),
    "gemma3_12b_full": Job(
        "gemma3_12b", SIZES["qwen2"], SIZES["gemma2"], 4, 512, 512, micro_batches=2
    ),
}
AS_MEASURED = dataclasses.replace(JOBS["bytes"], attention="eager", checkpointing=False)
"""The byte recipe as it was when an H200 said 104 GiB."""


def parts(job: Job) -> dict[str, float]:
    """Bytes of each part at the moment when most is held."""
    # which moments the optimizer has makes no difference there
    passes = _passes(dataclasses.replace(job, optimizer="adamw"))
    width = _config(job, job.student, job.student_tokens).hidden_size
    rows = job.sequences * job.student_length
    return {
        "student's weights": _student_weights(job, passes),
        "old embeddings (expansion)": float(BFLOAT16 * job.old_tokens * width),
        "teacher's weights": float(_teacher_bytes(job)),
        "gradients": float(FLOAT32 * passes.trained),
        "optimizer's states": STATES[job.optimizer] * passes.trained,
        "weights in bf16 (autocast)": float(passes.after - FLOAT32 * passes.trained),
        "activations": float(passes.most - passes.after),
        "loss": loss_bytes(job, rows, width),
        "objective": objective_bytes(job, width),
    }


def total(job: Job) -> float:
    """Bytes that torch's allocator says at its peak."""
    return sum(parts(job).values())


def _config(job: Job, model: str, num_tokens: int):
    changes = dict(job.changes)
    return shapes.config_of(model, num_tokens=num_tokens, attention=job.attention, **changes)


@functools.cache
def _passes(job: Job) -> Passes:
    return traced(
        shapes.MODELS[job.student][0],
        _config(job, job.student, job.student_tokens),
        sequences=job.sequences,
        length=job.student_length,
        checkpointing=job.checkpointing,
        rank=job.rank,
        autocast=job.autocast,
    )


def _student_weights(job: Job, passes: Passes) -> float:
    # with adapters the frozen ones are the teacher's own
    untied = 0
    if job.old_tokens:
        # a byte student's two small matrices, of which `traced` has one
        untied = job.student_tokens * _config(job, job.student, job.student_tokens).hidden_size
    return float(FLOAT32 * (passes.trained + untied))


def _teacher_bytes(job: Job) -> int:
    name = job.teacher or job.student
    with torch.device("meta"):
        job = dataclasses.replace(job, attention="eager")
        model = shapes.MODELS[name][0](_config(job, name, job.teacher_tokens))
    # a teacher is loaded in bfloat16 where that is multiplied, in float32 elsewhere
    size = BFLOAT16 if job.autocast else FLOAT32
    return size * sum(p.numel() for p in model.parameters())


def loss_bytes(job: Job, rows: int, width: int) -> float:
    """What the log-likelihoods hold: blocks of logits, and gradients of the output layer.

    A byte student's next-byte loss has slices of whole rows in the place of blocks.
    """
    num_rows, num_columns = BLOCK_SIZES.get(job.device, ACCELERATOR_BLOCK_SIZE)
    in_half = job.device == "cuda" and job.autocast
    block = min(rows, num_rows) * min(job.student_tokens, num_columns)
    blocks = block * (FLOAT32 + (BFLOAT16 if in_half else 0))
    slices = min(job.student_tokens, num_columns) * width * (FLOAT32 + 2 * BFLOAT16)
    # hidden states in the type of the product, and their gradient
    hidden = rows * width * ((BFLOAT16 if in_half else 0) + 2 * FLOAT32)
    # of the whole matrix, until the embeddings' part of it is added
    weight = FLOAT32 * job.student_tokens * width
    return float(blocks + slices + hidden + weight)


def objective_bytes(job: Job, width: int) -> float:
    """What of the teacher is held for the whole step, and what slices of distributions take."""
    kept = 0.0
    if job.hidden_states:
        # at most as many chunks as the teacher has tokens
        kept += FLOAT32 * job.sequences * job.teacher_length * width * job.micro_batches
    if job.distributions:
        # last hidden states, and embeddings of the tokens
        states = 2 * BFLOAT16 * job.sequences * job.teacher_length * width
        kept += states * job.micro_batches
        # a slice has this many numbers of float32, or what is as much in float64, a few times
        kept += FLOAT32 * ACCELERATOR_SLICE_ELEMENTS * COPIES / 2
    return kept


def on_one_of(sizes: Mapping[str, float], cards: int) -> float:
    """Bytes on each of several cards that share the weights and all that there is for each of them.

    Weights in bfloat16 are not shared: autocast holds those of all blocks until the step is over.
    """
    shared = sum(sizes[name] for name in SHARED)
    return shared / cards + sum(sizes.values()) - shared


def fits(num_bytes: float) -> bool:
    """Whether a card of 80 GB has so much for torch's tensors."""
    return num_bytes + OUTSIDE <= CARD
