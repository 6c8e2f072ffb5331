"""How long a step of a recipe takes by arithmetic: products, and bytes that go through memory.

Each part takes the longer of operations / rate and bytes / bandwidth, and parts follow each other.
Nothing is lost to launches, to short products or to waiting, so that a real step takes longer.
"""

from dataclasses import dataclass

from on_gpu import shapes
from on_gpu.expected import FLOAT32, JOBS, Job, total

PRODUCT_RATE, COPY_RATE = 790e12, 4.3e12
"""Of an H200: operations and bytes a second, as measured."""
BYTES_A_TOKEN = 4.5
"""Of the text that `benchmarks/gpu.py` trains on, under its tokenizers."""
TERMS = 2
"""Terms of the two recipes that have log-likelihoods, each with a gradient norm of its own."""


@dataclass(frozen=True)
class Work:
    """Operations of matrix products, and bytes that are read and written."""

    operations: float = 0.0
    num_bytes: float = 0.0

    def seconds(self, product_rate: float, copy_rate: float) -> float:
        return max(self.operations / product_rate, self.num_bytes / copy_rate)


def block_weights(model: str) -> tuple[int, int]:
    """Weights of all blocks of a model, and those of its adapters for each rank."""
    _, _, sizes = shapes.MODELS[model]
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    head = sizes.get("head_dim", width // sizes["num_attention_heads"])
    heads, groups = sizes["num_attention_heads"] * head, sizes["num_key_value_heads"] * head
    matrices = [(width, heads), (width, groups), (width, groups), (heads, width)]
    matrices += [(width, inner), (width, inner), (inner, width)]
    layers = sizes["num_hidden_layers"]
    return layers * sum(a * b for a, b in matrices), layers * sum(a + b for a, b in matrices)


def tokens(job: Job) -> tuple[float, float]:
    """The student's and the teacher's in a step, in rows that are full."""
    rows = job.sequences * job.micro_batches
    if job.old_tokens:
        # bytes: the teacher's tokens are as many as cover them
        seen = min(job.student_length, job.teacher_length * BYTES_A_TOKEN)
        return rows * seen, rows * seen / BYTES_A_TOKEN
    return float(rows * job.student_length), float(rows * job.teacher_length)


def useful(job: Job) -> float:
    """Operations that `share of the matrix-product rate` counts."""
    student_tokens, teacher_tokens = tokens(job)
    width = shapes.MODELS[job.student][2]["hidden_size"]
    body, a_rank = block_weights(job.student)
    output, adapters = job.student_tokens * width, (job.rank or 0) * a_rank
    trained = output + adapters if job.rank else output + body
    of_student = 4 * (body + output + adapters) + 2 * trained
    return of_student * student_tokens + 2 * _teacher(job) * teacher_tokens


def _teacher(job: Job) -> float:
    name = job.teacher or job.student
    width = shapes.MODELS[name][2]["hidden_size"]
    return block_weights(name)[0] + job.teacher_tokens * width


def works(job: Job, *, measures_norms: bool = True) -> dict[str, Work]:
    """The parts of a step; without norms the student goes forward once less."""
    student_tokens, teacher_tokens = tokens(job)
    sizes = shapes.MODELS[job.student][2]
    width, inner, layers = (
        sizes[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    body, a_rank = block_weights(job.student)
    adapters = (job.rank or 0) * a_rank
    forwards = 1 + job.checkpointing + measures_norms
    backwards = 1 if job.rank else 2
    heads = sizes["num_attention_heads"] * sizes["head_dim"]
    # of scores and of values, half of them masked; two and a half times that backward
    attention = 2 * job.student_length * heads * layers * (forwards + 2.5)
    # read and written by what a compiled block fuses: four norms (float32 in, bfloat16 out), two
    # additions to the stream, rotations, the gate; two and a half times that backward
    one_pass = (4 * 6 + 2 * 10) * width + 16 * heads + 3 * 2 * inner
    trained = body + job.student_tokens * width if job.rank is None else adapters
    in_steps = 28 * trained + 3 * FLOAT32 * trained * job.micro_batches
    # logits, and the sums that hidden states' gradient takes, which norms find there as well;
    # logits again, and the gradient of the output matrix
    losses = job.student_tokens * width * (2 * (forwards - job.checkpointing) + 2)
    logits = job.student_tokens * student_tokens
    passes = 14 * (forwards - job.checkpointing) + 10
    if job.old_tokens:
        # next byte: few columns, and no log-likelihoods of tokens
        losses, passes = 4 * job.student_tokens * width, 64
    return {
        "student's blocks": Work(2 * body * (forwards + backwards) * student_tokens),
        "adapters": Work(2 * adapters * (forwards + 2) * student_tokens),
        "attention": Work(attention * student_tokens),
        "norms, gates, additions": Work(
            num_bytes=one_pass * layers * (forwards + 2.5) * student_tokens
        ),
        "teacher": Work(2 * _teacher(job) * teacher_tokens),
        "loss, products": Work(2 * losses * student_tokens),
        "loss, logits": Work(num_bytes=passes * logits),
        "gradients, optimizer": Work(num_bytes=in_steps),
    }


def step(
    name: str,
    product_rate: float = PRODUCT_RATE,
    copy_rate: float = COPY_RATE,
    *,
    measures_norms: bool = True,
) -> dict[str, float]:
    """The lines of a recipe in the table, but for memory."""
    job = JOBS[name]
    parts = works(job, measures_norms=measures_norms).values()
    taken = sum(work.seconds(product_rate, copy_rate) for work in parts)
    return {
        "a step (s)": taken,
        "student's tokens a second": tokens(job)[0] / taken,
        "share of the matrix-product rate": useful(job) / taken / product_rate,
        "waiting for data (share)": 0.0,
    }


def memory(name: str) -> dict[str, float]:
    """The line of a recipe's memory, which takes seconds to find."""
    return {"peak memory (GiB)": total(JOBS[name]) / 2**30}
