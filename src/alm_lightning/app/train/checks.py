"""What is refused before anything large is read, and before the first step."""

import math
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import InterpolationKeyError

from alm_lightning.app.train.data import ON_BAD_DOCUMENT
from alm_lightning.app.train.numbers import check_numbers

BYTE_EMBEDDINGS = "alm_lightning.models.vocabulary.BytesFromOldTokens"
OWN_EMBEDDINGS = "alm_lightning.models.own_vocabulary.OwnVocabulary"
SUBWORD_TOKENIZER = "alm_lightning.models.new_tokenizer.NewTokenizer"

PRECISIONS = ("auto", "bf16-mixed", "32-true", "32")
"""Of Lightning's names. Its others cast whole models and batches."""
STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
    "single_device",
    "DDPStrategy",
    "SingleDeviceStrategy",
)
"""Names and classes. Others split models, or start processes in the middle of a run."""

UNIFORM_BITS_PER_BYTE = 8.0
"""Bits per byte of a model that knows nothing: each of the 256 bytes alike."""
UNTRAINED_MARGIN = 1.05
"""A model as it was initialised lies a little above a uniform guess (0.2 to 0.7 % in tests), and
may be a teacher there. Weights with the tokenizer of another model lie far above."""


def check_settings(cfg: DictConfig) -> None:
    """Refuses settings that no constructor sees early enough.

    Args:
        cfg: The whole configuration.

    Raises:
        FileExistsError: If the run's folder holds files of another run.
        FileNotFoundError: If there is no checkpoint at `ckpt_path`.
        ValueError: If a number, on_bad_document, the precision, the strategy, the embeddings, what
            is trained of them, or a stop token makes no sense.
    """
    _check_output_dir(Path(cfg.paths.output_dir))
    if cfg.ckpt_path is not None and not Path(cfg.ckpt_path).is_file():
        raise FileNotFoundError(
            f"ckpt_path={cfg.ckpt_path}: there is no such checkpoint. Those of a run lie in its "
            "folder under checkpoints/, the newest as last.ckpt, or as stopped.ckpt where a "
            "signal ended the run."
        )
    if cfg.on_bad_document not in ON_BAD_DOCUMENT:
        raise ValueError(
            f"on_bad_document is {cfg.on_bad_document!r}: expected one of "
            f"{', '.join(ON_BAD_DOCUMENT)}."
        )
    check_numbers(cfg)
    _check_trainer(cfg.trainer)
    unknown = [t for t in cfg.student.stop_tokens if t not in cfg.student.special_tokens]
    if unknown:
        raise ValueError(
            f"student.stop_tokens has {unknown}, which are not among student.special_tokens "
            f"({list(cfg.student.special_tokens)}). Add them there, so that the student has them."
        )
    _check_embeddings(cfg)


def _check_trainer(trainer: DictConfig) -> None:
    # 16 is Lightning's other name of it
    if str(trainer.precision) in ("16-mixed", "16"):
        raise ValueError(
            f"trainer.precision is {trainer.precision}, whose gradients are scaled up, so that "
            "gradient_clip would cut them at a wrong norm. Take bf16-mixed or 32-true."
        )
    if str(trainer.precision) not in PRECISIONS:
        raise ValueError(
            f"trainer.precision is {trainer.precision}: expected one of {', '.join(PRECISIONS)}. "
            "What is trained is held in float32, since bfloat16 would round small updates away; "
            "for less memory take adapter=lora, or student.dtype=bfloat16 for the frozen weights."
        )
    strategy = trainer.get("strategy") or "auto"
    if isinstance(strategy, DictConfig):
        # a node of which a class is to be made
        strategy = str(strategy.get("_target_")).rpartition(".")[2]
    if strategy not in STRATEGIES:
        raise ValueError(
            f"trainer.strategy is {strategy}: expected one of {', '.join(STRATEGIES)}. Terms are "
            "weighed by gradients of whole matrices, and student and teacher may hold the same "
            "weights, so every process has whole models; for less memory take adapter=lora and "
            "a smaller budget.micro_batch_size."
        )


def _check_embeddings(cfg: DictConfig) -> None:
    target = cfg.tokenizer._target_
    if cfg.embeddings._target_ == BYTE_EMBEDDINGS and target == SUBWORD_TOKENIZER:
        raise ValueError(
            f"embeddings=bytes makes embeddings of bytes, and the student's tokenizer is to be "
            f"{cfg.tokenizer.name}. Take embeddings=fvt (or omp, mean, keep), or tokenizer=bytes; "
            "experiment=gemma_to_smollm2_tokenizer shows settings that go together."
        )
    # adapters alone have the setting
    if not cfg.adapter.get("train_embeddings", True) and cfg.embeddings._target_ != OWN_EMBEDDINGS:
        raise ValueError(
            "adapter.train_embeddings=false freezes embeddings, and those of a student with a new "
            f"tokenizer ({cfg.embeddings._target_.rpartition('.')[2]}) are yet to be learned. Take "
            "adapter.train_embeddings=true, or let the student keep its tokenizer, with "
            "tokenizer=own embeddings=own."
        )
    try:
        # a donor that is asked for and not named is Hydra's own error
        (cfg.embeddings.get("initialisation") or {}).get("donor")
    except InterpolationKeyError as error:
        raise ValueError(
            f"embeddings=omp needs a donor, a model that has the new tokenizer, and that of the "
            f"settings can't be found ({str(error).partition(chr(10))[0]}). Say where one is, as "
            "embeddings.initialisation.donor='${tokenizer.source.sources.hub.weights}' for "
            "tokenizer=qwen2 and gpt2, or embeddings.initialisation.donor='{_target_: "
            "alm_lightning.models.weights.sources.Folder, path: my-donor}'."
        ) from error


def _check_output_dir(folder: Path) -> None:
    # called before this run has loggers or checkpoints: whatever is there is of another one
    for name in ("model", "summary.json", "metrics.csv", "checkpoints"):
        path = folder / name
        # a folder that was emptied, or made beforehand, has nothing to lose
        if path.exists() and (name != "checkpoints" or any(path.iterdir())):
            raise FileExistsError(
                f"{path} exists, and a run never writes over another, not even over the one that "
                "it continues. Give another paths.output_dir, or leave it to its default, which "
                "holds the time."
            )


def check_teacher(figures: Mapping[str, Mapping[str, float]], name: str, num_tokens: int) -> None:
    """Refuses a teacher that knows less than nothing of its own text.

    Vocabularies of the same size can't tell a tokenizer that is not the model's; its figures can.

    Args:
        figures: Figures before training, by evaluation set.
        name: What the error calls the teacher.
        num_tokens: Size of the teacher's vocabulary.

    Raises:
        ValueError: If the teacher knows less than a uniform guess at bytes, or clearly less than
            one at its tokens, on every evaluation set, or its likelihoods are not finite.
    """
    bits = {dataset: values["bits_per_byte_teacher"] for dataset, values in figures.items()}
    nats = {dataset: _teacher_nats_per_token(values) for dataset, values in figures.items()}
    uniform = math.log(num_tokens)
    is_finite = all(map(math.isfinite, bits.values()))
    if (
        not is_finite
        or min(bits.values()) > UNIFORM_BITS_PER_BYTE
        or min(nats.values()) > UNTRAINED_MARGIN * uniform
    ):
        raise ValueError(
            f"the teacher {name} needs {_rounded(bits)} bits per byte and {_rounded(nats)} nats "
            f"per token, where guessing takes {UNIFORM_BITS_PER_BYTE:.0f} bits per byte or "
            f"{uniform:.2f} nats per token: its weights and its tokenizer do not belong together, "
            "or its weights are broken. Load both from one revision of one model."
        )


def _teacher_nats_per_token(values: Mapping[str, float]) -> float:
    nats = values["bits_per_byte_teacher"] * math.log(2) * values["bytes"]
    num_tokens = values["teacher_tokens_per_chunk"] * values["chunks"]
    return nats / max(num_tokens, 1.0)


def _rounded(values: Mapping[str, float]) -> str:
    return ", ".join(f"{value:.2f} ({dataset})" for dataset, value in values.items())
