"""What is evaluated, resolved once from the configuration: models, ensembles, harnesses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.evaluate.fit import Fitted, FitText, fit, fitted_weights_of, store_weights
from alm_lightning.app.evaluate.harnesses import HarnessPlan, plan_harnesses
from alm_lightning.app.evaluate.models import ModelEntry, find_model, load_evaluated
from alm_lightning.evaluation.ensemble.members import check_same_tokenizer, ensemble_of
from alm_lightning.evaluation.ensemble.mixture import COMBINES, MEAN_PROB, checked_weights
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.texts import keyed_documents
from alm_lightning.models.loading import torch_dtype

FIT = "fit"


@dataclass(frozen=True)
class ModelPlan:
    """A single model, not loaded yet.

    Attributes:
        entry: The model.
        dtype: Of its weights, as ``auto``.
        device: Where it is to be, as ``auto``.
    """

    entry: ModelEntry
    dtype: str
    device: str

    @property
    def name(self) -> str:
        """Its name in tables and folders."""
        return self.entry.name

    @property
    def run(self) -> Path | None:
        """The folder of the run that made it, if it is a student."""
        return self.entry.run

    def identity(self) -> dict[str, object]:
        """What tells it from any other model, as JSON has it."""
        return {**self.entry.identity(), "dtype": str(torch_dtype(self.dtype, self.device))}

    def load(self) -> EvaluatedModel:
        """Loads it."""
        return load_evaluated(self.entry, self.dtype, self.device)

    def description(self) -> dict[str, object]:
        """What results say of it."""
        return {"described": self.entry.source.describe()}


@dataclass(frozen=True)
class EnsemblePlan:
    """An ensemble, not loaded yet.

    Attributes:
        members: Its models.
        dtype: Of their weights, as ``auto``.
        device: Where they are to be, as ``auto``.
        combine: How their probabilities are combined.
        weights: One for each member; None for equal ones, or for those fitted on `text`.
        text: What weights are fitted on; None if they are not.
        folder: Where fitted weights are stored.
    """

    members: Sequence[ModelEntry]
    dtype: str
    device: str
    combine: str
    weights: Sequence[float | int] | None
    text: FitText | None
    folder: Path
    run: None = None

    @property
    def name(self) -> str:
        """Its name in tables and folders."""
        return f"ensemble-{self.combine}{'' if self.text is None else '-fitted'}"

    def identity(self) -> dict[str, object]:
        """What tells it from any other ensemble, as JSON has it."""
        identity: dict[str, object] = {
            "members": [entry.identity() for entry in self.members],
            "combine": self.combine,
            "weights": FIT if self.text else self.weights and list(self.weights),
            "dtype": str(torch_dtype(self.dtype, self.device)),
        }
        return identity if self.text is None else {**identity, "fit": self.text.identity()}

    def load(self) -> EvaluatedModel:
        """Loads the members, and fits weights if no earlier call has done so."""
        members = [load_evaluated(entry, self.dtype, self.device) for entry in self.members]
        weights = self.weights
        if self.text is not None:
            weights = self._fit(self.text, members).weights
        return ensemble_of(members, self.combine, weights, self.name)

    def _fit(self, text: FitText, members: Sequence[EvaluatedModel]) -> Fitted:
        fitted = fitted_weights_of(self.folder, self.identity())
        if fitted is None:
            check_same_tokenizer([(member.name, member.view) for member in members])
            fitted = fit(members, self.combine, text)
            store_weights(self.folder, self.identity(), fitted)
        return fitted

    def description(self) -> dict[str, object]:
        """What results say of it: its members, how they are combined, and with what weights."""
        fitted = None
        if self.text is not None:
            fitted = fitted_weights_of(self.folder, self.identity())
            if fitted is None:
                # someone has removed the file
                self.load()
                fitted = fitted_weights_of(self.folder, self.identity())
        weights = checked_weights(fitted.weights if fitted else self.weights, len(self.members))
        pairs = list(zip(self.members, weights, strict=True))
        shares = [f"{each.name} {weight:.3f} ({each.source.describe()})" for each, weight in pairs]
        text = f"{self.combine} of {', '.join(shares)}"
        description: dict[str, object] = {
            "combine": self.combine,
            "weights": {each.name: weight for each, weight in pairs},
        }
        if self.text is not None and fitted is not None:
            text += (
                f"; weights fitted on {fitted.documents:,} documents of {self.text.name} "
                f"({fitted.tokens:,} tokens)"
            )
            description["fitted_on"] = {**self.text.identity(), "tokens": fitted.tokens}
        return {"described": text, **description}


@dataclass(frozen=True)
class EvaluationPlan:
    """An evaluation: every model under every harness.

    Attributes:
        models: Models, and ensembles after them.
        harnesses: By name.
        folder: The output folder.
        seed: Of sampled text.
        report: Whether an HTML page is written.
    """

    models: Sequence[ModelPlan | EnsemblePlan]
    harnesses: Mapping[str, HarnessPlan]
    folder: Path
    seed: int
    report: bool


def make_plan(cfg: DictConfig, models: Path) -> EvaluationPlan:
    """Resolves a configuration; errors in names and settings come before anything is loaded.

    Args:
        cfg: The composed configuration.
        models: The folder of files that name models: conf/model.

    Returns:
        The plan.
    """
    found = [find_model(text, models) for text in named_models(cfg.model)]
    entries = with_unique_names(found, cfg.names)
    plans: list[ModelPlan | EnsemblePlan] = []
    if cfg.model.kind is None or cfg.model.alone:
        plans += [ModelPlan(entry, cfg.dtype, cfg.device) for entry in entries]
    if cfg.model.kind is not None:
        plans += _plan_ensembles(cfg, entries)
    return EvaluationPlan(
        models=plans,
        harnesses=plan_harnesses(cfg.harness, models, cfg.dtype, cfg.device),
        folder=Path(cfg.paths.output_dir),
        seed=cfg.seed,
        report=cfg.report,
    )


def _plan_ensembles(cfg: DictConfig, members: Sequence[ModelEntry]) -> list[EnsemblePlan]:
    settings = OmegaConf.to_container(cfg.model, resolve=True)
    combine, weights = settings["combine"], settings["weights"]
    ways = [combine] if isinstance(combine, str) else combine
    check_ensemble(ways, weights, len(members))
    text = None
    if weights == FIT:
        documents = keyed_documents(
            instantiate(cfg.corpus_fit.source), max_documents=cfg.model.fit_documents
        )
        text, weights = FitText(str(cfg.corpus_fit.name), documents, cfg.model.fit_bytes), None
    folder = Path(cfg.paths.output_dir)
    plans = [
        EnsemblePlan(members, cfg.dtype, cfg.device, way, weights, text, folder) for way in ways
    ]
    return [replace(plan, folder=folder / plan.name) for plan in plans]


def check_ensemble(ways: Sequence[str], weights: object, num_members: int) -> None:
    """Refuses an ensemble that could not be made.

    Args:
        ways: How probabilities are to be combined.
        weights: None, ``fit``, or one for each member.
        num_members: Number of members.

    Raises:
        ValueError: A way is unknown, weights do not fit the members, or can't be fitted.
    """
    unknown = [way for way in ways if way not in COMBINES]
    if unknown:
        raise ValueError(
            f"model.combine has {unknown}: expected one or several of {', '.join(COMBINES)}."
        )
    if weights == FIT and set(ways) != {MEAN_PROB}:
        raise ValueError(
            f"model.weights={FIT} is for model.combine={MEAN_PROB} only, and combine is "
            f"{list(ways)}. Evaluate the others in a call of their own, with weights or without."
        )
    if weights != FIT:
        checked_weights(weights, num_members)


def named_models(node: DictConfig) -> list[str]:
    """The models that `model` of the configuration names, as the user wrote them.

    Args:
        node: `model` of the configuration.

    Returns:
        At least one, and at least two of an ensemble.

    Raises:
        ValueError: Too few are named.
    """
    is_ensemble = node.kind == "ensemble"
    given = node.members if is_ensemble else node.path
    texts = [given] if isinstance(given, str) else list(given or [])
    if len(texts) < (2 if is_ensemble else 1):
        raise ValueError(
            "model=ensemble needs model.members=[a,b], at least two models."
            if is_ensemble
            else "no model is named. Give model=PATH: the folder of a model, the folder of a run "
            "(outputs/<experiment>/<time>), a hub id, or gemma3_270m; model=[a,b] for several."
        )
    return [str(text) for text in texts]


def with_unique_names(
    entries: Sequence[ModelEntry], names: Sequence[str] | None
) -> list[ModelEntry]:
    """The same models, under different names.

    Args:
        entries: The models.
        names: Their names in tables; None for names of their own, of which the second and later
            equal ones get a number.

    Returns:
        The models.

    Raises:
        ValueError: There are not as many names as models, or two equal ones.
    """
    if names is not None:
        if len(names) != len(entries) or len(set(names)) != len(names):
            raise ValueError(
                f"names has {list(names)}, for {len(entries)} models: expected a different name "
                "for each."
            )
        return [_renamed(entry, name) for entry, name in zip(entries, names, strict=True)]
    taken = {entry.name for entry in entries}
    used: set[str] = set()
    unique = []
    for entry in entries:
        name, number = entry.name, 2
        while name in used or (name != entry.name and name in taken):
            name, number = f"{entry.name}-{number}", number + 1
        used.add(name)
        unique.append(entry if name == entry.name else _renamed(entry, name))
    return unique


def _renamed(entry: ModelEntry, name: str) -> ModelEntry:
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise ValueError(
            f"names has {name!r}: expected a name that a folder can have, without slashes."
        )
    return replace(entry, name=name)
