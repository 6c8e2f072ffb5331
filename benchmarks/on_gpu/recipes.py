"""The published recipes, composed as `train.py` composes them, with models of random weights."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
import lightning as L
from omegaconf import DictConfig

from alm_lightning.app.hydra.model_groups import register_models
from alm_lightning.app.train.build import build_trainer, plan_of
from alm_lightning.app.train.checks import check_settings
from alm_lightning.data.datamodule import DistillDataModule
from alm_lightning.distillation.models import GivenModel
from alm_lightning.distillation.run import Plan
from alm_lightning.models.loading import torch_dtype
from alm_lightning.training.module import DistillModule
from on_gpu import shapes, vocabularies

CONF = Path(__file__).resolve().parents[2] / "conf"
DOCUMENT_LENGTH = 10_000
"""Characters: more than any window has, so that rows are as full as their lengths allow."""
TURNS = "[" + ",".join(f"'{turn}'" for turn in vocabularies.TURNS) + "]"


@dataclass(frozen=True)
class Recipe:
    """A published recipe: the settings that pick it, and what stands in for its models."""

    settings: Sequence[str]
    student: str
    student_tokens: str
    teacher: str | None = None
    teacher_tokens: str | None = None
    new_tokens: str | None = None


RECIPES = {
    "bytes": Recipe(["student=gemma2_2b_it", "budget=paper"], "gemma2_2b", "gemma2"),
    "subword": Recipe(
        ["experiment=gemma2_to_qwen2", "budget=paper_subword"],
        "gemma2_2b",
        "gemma2",
        new_tokens="qwen2",
    ),
    "maths": Recipe(
        ["experiment=openmath2_llama_to_gemma2", "budget=paper_maths"],
        "gemma2_2b",
        "gemma2",
        teacher="llama3_8b",
        teacher_tokens="llama3",
    ),
}
QUICK = [
    *("trainer=cpu", "trainer.precision=32-true", "student.dtype=float32", "teacher.dtype=float32"),
    *("budget.batch_size=4", "budget.micro_batch_size=2", "budget.evaluation_windows=2"),
    *("budget.student_length=64", "budget.teacher_length=48"),
]


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    quick: bool
    tokenizers: dict[str, Path]
    text: Path | None
    overrides: Sequence[str]

    def tokenizer(self, family: str, folder: Path) -> Path:
        """A folder with the tokenizer of a family, made there unless it is there already."""
        target = folder / family
        if not target.exists():
            found = vocabularies.tokenizer(family, self.tokenizers.get(family), tiny=self.quick)
            found.save_pretrained(target)
        return target

    def own(self, recipe: str) -> list[str]:
        """Overrides of one recipe: those that name it (`bytes:key=value`) or name none."""
        parts = [override.partition(":") for override in self.overrides]
        return [
            said if colon and name in RECIPES else f"{name}{colon}{said}"
            for name, colon, said in parts
            if not (colon and name in RECIPES) or name == recipe
        ]


@dataclass(frozen=True)
class Built:
    """All that a run needs but its loop."""

    cfg: DictConfig
    plan: Plan
    module: DistillModule
    data: DistillDataModule
    trainer: L.Trainer


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of `train.py` with these overrides."""
    register_models(CONF)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("train", list(overrides))


def overrides_of(name: str, settings: Settings, folder: Path) -> list[str]:
    """What picks a recipe, with text of this machine in the place of that on the hub."""
    recipe = RECIPES[name]
    found = [
        *recipe.settings,
        *(f"paths.output_dir={folder / name}", f"cache_dir={folder / 'cache'}"),
        *("trainer=gpu", "trainer.devices=1", "chat=all", f"student.special_tokens={TURNS}"),
        # Lightning would write checkpoints of its own: 30 GB at the end of each recipe
        *("++trainer.enable_progress_bar=false", "++trainer.enable_checkpointing=false"),
        *text_overrides(settings, folder),
    ]
    if recipe.new_tokens is not None:
        path = settings.tokenizer(recipe.new_tokens, folder)
        found += ["tokenizer=folder", f"tokenizer.source.path={path}"]
    if any(family in settings.tokenizers for family in vocabularies.SIZES):
        # a tokenizer of any kind: it need not have the special tokens of Gemma's chats
        found += ["student.special_tokens=[]", "student.stop_tokens=[]"]
    return [*found, *(QUICK if settings.quick else []), *settings.own(name)]


def text_overrides(settings: Settings, folder: Path, *, count: int = 600) -> list[str]:
    """The settings that read text of this machine, one window a document."""
    length = 600 if settings.quick else DOCUMENT_LENGTH
    target, other = folder / "text.jsonl", folder / "other.jsonl"
    if not target.exists():
        text = vocabularies.texts(settings.text, tiny=settings.quick)
        count = 40 if settings.quick else count
        vocabularies.write_documents(text, target, count=count, length=length)
        vocabularies.write_documents(text[::-1], other, count=10, length=length)
    return [
        *("corpus=jsonl", f"corpus.source.path={target}"),
        *("corpus@corpus_other=jsonl", f"corpus_other.source.path={other}"),
        *("corpus_other.heldout_share=0.5", "budget.evaluation_windows=4"),
    ]


def build(name: str, settings: Settings, folder: Path) -> Built:
    """A recipe with models of random weights on the CPU, up to its first step."""
    recipe = RECIPES[name]
    cfg = composed(overrides_of(name, settings, folder))
    cfg.callbacks, cfg.logger = {}, {}
    check_settings(cfg)
    plan = plan_of(cfg)

    def given(model: str, tokens: str, node: DictConfig) -> GivenModel:
        path = settings.tokenizer(tokens, folder)
        return given_model(model, path, node, cfg.trainer.accelerator, tiny=settings.quick)

    student = given(recipe.student, recipe.student_tokens, cfg.student)
    teacher = student
    if recipe.teacher is not None:
        teacher = given(recipe.teacher, recipe.teacher_tokens or "", cfg.teacher)
    pair = dataclasses.replace(plan.pair, student=student, teacher=teacher)
    return built(cfg, dataclasses.replace(plan, pair=pair))


def given_model(
    model: str, tokenizer: Path, node: DictConfig, accelerator: str, *, tiny: bool, **changes: int
) -> GivenModel:
    """A model of random weights, as a node of the configuration would have loaded it."""
    found = vocabularies.load_tokenizer(tokenizer).hf
    sizes = {"num_tokens": len(found), "attention": node.attention, "tiny": tiny}
    config = shapes.config_of(model, **sizes, **changes)
    made = shapes.random_model(model, config, torch_dtype(node.dtype, accelerator))
    return GivenModel(name=model, licence="random weights", model=made, tokenizer=found)


def built(cfg: DictConfig, plan: Plan) -> Built:
    """Models, data, module and trainer of a plan, in the order of `distillation.run`."""
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    documents = plan.data.read()
    student, teacher = plan.pair.build(plan.accelerator)
    data = plan.data.pair(documents, student, teacher)
    return Built(cfg, plan, plan.module(student, teacher), data, build_trainer(cfg))
