"""Settings of the command line that are refused before anything is made of them."""

from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf

from alm_lightning.app.hydra.processes import is_first_process
from alm_lightning.app.keys import KEYS
from alm_lightning.app.train.build import SCORES, SERVER
from alm_lightning.distillation.checks import (
    ABOVE_ZERO,
    AT_LEAST,
    check_accelerator,
    check_numbers,
    check_trainer,
    check_validation,
)
from alm_lightning.distillation.data import ON_BAD_DOCUMENT
from alm_lightning.scores.manifest import TOKENIZER
from alm_lightning.training.optimizers import check_torchao


def check_settings(cfg: DictConfig) -> None:
    """Refuses settings that no constructor sees early enough.

    Args:
        cfg: The whole configuration.

    Raises:
        ImportError: If the optimizer is of a package that is not installed.
        FileExistsError: If the run's folder holds files of another run.
        FileNotFoundError: If there is no checkpoint at `ckpt_path`.
        ValueError: If a number, on_bad_document, the precision, the strategy, limit_val_batches or
            a stop token makes no sense, a setting can't be had with spread weights, or the
            tokenizer is to be that of a teacher that is a store.
    """
    _check_output_dir(Path(cfg.paths.output_dir))
    if cfg.ckpt_path is not None and not Path(cfg.ckpt_path).exists():
        raise FileNotFoundError(
            f"ckpt_path={cfg.ckpt_path}: there is no such checkpoint. Those of a run are in its "
            "folder under checkpoints/, the newest as last.ckpt, or as stopped.ckpt where a "
            "signal ended the run."
        )
    if cfg.on_bad_document not in ON_BAD_DOCUMENT:
        raise ValueError(
            f"on_bad_document is {cfg.on_bad_document!r}: expected one of "
            f"{', '.join(ON_BAD_DOCUMENT)}."
        )
    numbers = [*AT_LEAST, *ABOVE_ZERO]
    check_numbers({name: OmegaConf.select(cfg, KEYS.get(name, name)) for name in numbers})
    strategy = cfg.trainer.strategy
    if isinstance(strategy, DictConfig):
        # a node of which a class is to be made
        strategy = str(strategy._target_).rpartition(".")[2]
    check_trainer(cfg.trainer.precision, "auto" if strategy is None else strategy)
    # no file of conf/ has this setting
    check_validation(OmegaConf.select(cfg, "trainer.limit_val_batches"))
    if strategy == "ShardedStrategy":
        _check_spread(cfg)
    if str(cfg.optimizer._target_).endswith(".adamw_8bit"):
        check_torchao()
    _check_teacher(cfg)
    _check_stored_teacher(cfg)
    special_tokens = list(cfg.student.special_tokens or ())
    unknown = [text for text in cfg.student.stop_tokens if text not in special_tokens]
    if unknown:
        raise ValueError(
            f"student.stop_tokens has {unknown}, which are not among student.special_tokens "
            f"({special_tokens}). Add them there, so that the student has them."
        )
    check_accelerator(cfg.trainer.accelerator)


def _check_spread(cfg: DictConfig) -> None:
    """Refuses what can't be had with weights that are spread over ranks."""
    # on a processor the size is not tried, but reckoned
    if cfg.budget.micro_batch_size == "auto" and cfg.trainer.accelerator != "cpu":
        raise ValueError(
            "budget.micro_batch_size is auto, and with trainer=fsdp ranks compute together, so "
            "that none can try alone what fits. Give a number, 1 to start with."
        )
    if str(cfg.optimizer._target_).endswith(".adamw_8bit"):
        raise ValueError(
            "optimizer=adamw_8bit was never tried with weights that are spread over ranks. Take "
            "optimizer=adamw, whose moments trainer=fsdp spreads, or trainer=gpu."
        )
    if cfg.on_policy.share and str(cfg.on_policy.engine._target_).endswith(".VllmSettings"):
        raise ValueError(
            "on_policy/engine=vllm needs whole weights, and they are spread over ranks. Take "
            "on_policy/engine=transformers, or trainer=gpu."
        )
    if cfg.speed.keep_graphs:
        raise ValueError(
            "speed.keep_graphs is true, and weights are spread over ranks: what a forward pass "
            "gathers is given back before the next one. Take speed.keep_graphs=false."
        )


def _check_teacher(cfg: DictConfig) -> None:
    """Refuses a student that is its own teacher: it would learn rounding errors."""
    if SCORES in cfg.teacher or SERVER in cfg.teacher:
        # whose they are, the store says
        return
    is_same = (
        str(cfg.tokenizer._target_).endswith("OwnTokenizer")
        and cfg.student.source == cfg.teacher.source
        and cfg.chat.student_template == cfg.chat.teacher_template
    )
    terms = [get_class(str(term._target_)) for term in cfg.objective.values() if term]
    if is_same and cfg.budget.steps and all(getattr(t, "needs_teacher", True) for t in terms):
        raise ValueError(
            "student and teacher are one model with one tokenizer, so that the student would learn "
            f"from itself: no term of the objective, {list(cfg.objective)}, learns from the text. "
            "Give teacher=..., another tokenizer=..., or objective=next_token."
        )


def _check_stored_teacher(cfg: DictConfig) -> None:
    """Refuses the tokenizer of a teacher (tokenizer=teacher) that is a store, and so no model."""
    node = OmegaConf.to_container(cfg.tokenizer, resolve=False)
    assert isinstance(node, dict)
    if SCORES not in cfg.teacher or node.get("name") != "${teacher.name}":
        return
    given = OmegaConf.select(cfg, "teacher.scores.path")
    store = (given[0] if isinstance(given, ListConfig) and given else given) or "STORE"
    raise ValueError(
        "tokenizer=teacher reads the tokenizer of a teacher that is a model, and teacher=scores is "
        f"a store of scores, {store}. It has kept its teacher's tokenizer: take tokenizer=folder "
        f"tokenizer.source.path={store}/{TOKENIZER} tokenizer.special_tokens=replace, or "
        "tokenizer=hub tokenizer.source.weights.hub_id=... tokenizer.special_tokens=replace."
    )


def _check_output_dir(folder: Path) -> None:
    if not is_first_process():
        # the first one, which checks, may have begun to write
        return
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
