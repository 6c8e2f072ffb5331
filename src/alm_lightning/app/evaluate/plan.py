"""What is to be evaluated: models that were found, and ensembles of them, not loaded yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from alm_lightning.app.evaluate.fit import Fitted, FitText, fit, keep_weights, kept_weights
from alm_lightning.app.evaluate.models import Entry, find_model, load_evaluated, plain
from alm_lightning.app.evaluate.names import members_of, with_unique_names
from alm_lightning.evaluation.ensemble.members import check_same_tokenizer, ensemble_of
from alm_lightning.evaluation.ensemble.mixture import COMBINES, MEAN_PROB, checked_weights
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.texts import keyed_documents
from alm_lightning.models.loading import torch_dtype

FIT = "fit"


@dataclass(frozen=True)
class Alone:
    """A model by itself.

    Attributes:
        entries: The model, as a sequence of one.
        dtype: Of its weights, as ``auto``.
        device: Where it is to be.
    """

    entries: Sequence[Entry]
    dtype: str
    device: str

    @property
    def name(self) -> str:
        """What tables and folders call it."""
        return self.entries[0].name

    @property
    def run(self) -> Path | None:
        """The folder of the run that made it, if it is a student."""
        return self.entries[0].run

    def identity(self) -> dict[str, object]:
        """What tells it from any other, as JSON has it."""
        return {**self.entries[0].identity(), "dtype": str(torch_dtype(self.dtype, self.device))}

    def load(self) -> EvaluatedModel:
        """Loads it."""
        return load_evaluated(self.entries[0], self.dtype, self.device)

    def about(self) -> dict[str, object]:
        """What results say of it."""
        return {"described": self.entries[0].source.describe()}


@dataclass(frozen=True)
class Together:
    """An ensemble.

    Attributes:
        entries: Its members.
        dtype: Of their weights, as ``auto``.
        device: Where they are to be.
        combine: How their probabilities are combined.
        given: Weights; None for equal ones, or for those that suit `text`.
        text: What weights are fitted on; None if they are not.
        folder: Where fitted weights are kept.
    """

    entries: Sequence[Entry]
    dtype: str
    device: str
    combine: str
    given: Sequence[float | int] | None
    text: FitText | None
    folder: Path
    run: None = None

    @property
    def name(self) -> str:
        """What tables and folders call it."""
        return f"ensemble-{self.combine}{'' if self.text is None else '-fitted'}"

    def identity(self) -> dict[str, object]:
        """What tells it from any other, as JSON has it."""
        found: dict[str, object] = {
            "members": [entry.identity() for entry in self.entries],
            "combine": self.combine,
            "weights": FIT if self.text else self.given and list(self.given),
            "dtype": str(torch_dtype(self.dtype, self.device)),
        }
        return found if self.text is None else {**found, "fit": self.text.identity()}

    def load(self) -> EvaluatedModel:
        """Loads the members, and fits weights if no earlier call has done it."""
        members = [load_evaluated(entry, self.dtype, self.device) for entry in self.entries]
        weights = self.given
        if self.text is not None:
            weights = self._fitted(members).weights
        return ensemble_of(members, self.combine, weights, self.name)

    def _fitted(self, members: Sequence[EvaluatedModel]) -> Fitted:
        kept = kept_weights(self.folder, self.identity())
        if kept is None:
            check_same_tokenizer([(member.name, member.view) for member in members])
            kept = fit(members, self.combine, self.text)
            keep_weights(self.folder, self.identity(), kept)
        return kept

    def about(self) -> dict[str, object]:
        """What results say of it: its members, how they are combined, and with what weights."""
        fitted = None
        if self.text is not None:
            fitted = kept_weights(self.folder, self.identity())
            if fitted is None:
                # the file was taken away
                self.load()
                fitted = kept_weights(self.folder, self.identity())
        weights = checked_weights(fitted.weights if fitted else self.given, len(self.entries))
        shares = [
            f"{entry.name} {weight:.3f} ({entry.source.describe()})"
            for entry, weight in zip(self.entries, weights, strict=True)
        ]
        told = f"{self.combine} of {', '.join(shares)}"
        about: dict[str, object] = {
            "combine": self.combine,
            "weights": {e.name: weight for e, weight in zip(self.entries, weights, strict=True)},
        }
        if fitted is not None:
            told += (
                f"; weights fitted on {fitted.documents:,} documents of {self.text.name} "
                f"({fitted.tokens:,} tokens)"
            )
            about["fitted_on"] = {**self.text.identity(), "tokens": fitted.tokens}
        return {"described": told, **about}


Planned = Alone | Together


def planned(cfg: DictConfig, models: Path) -> list[Planned]:
    """Finds what a configuration names.

    Args:
        cfg: The whole configuration.
        models: The folder of files that name models: conf/model.

    Returns:
        The models, and the ensembles after them.
    """
    found = [find_model(text, models) for text in members_of(cfg.model)]
    entries = with_unique_names(found, cfg.names)
    alone = [Alone((entry,), cfg.dtype, cfg.device) for entry in entries]
    if cfg.model.kind is None:
        return alone
    together = _ensembles(cfg, entries)
    return [*alone, *together] if cfg.model.alone else together


def _ensembles(cfg: DictConfig, entries: Sequence[Entry]) -> list[Planned]:
    ways = [cfg.model.combine] if isinstance(cfg.model.combine, str) else list(cfg.model.combine)
    weights = plain(cfg.model)["weights"]
    check_ensemble(ways, weights, len(entries))
    text = _fit_text(cfg) if weights == FIT else None
    given = None if text is not None else weights
    ensembles = []
    for way in ways:
        own = Together(entries, cfg.dtype, cfg.device, way, given, text, Path())
        folder = Path(cfg.paths.output_dir) / own.name
        ensembles.append(replace(own, folder=folder))
    return ensembles


def _fit_text(cfg: DictConfig) -> FitText:
    documents = keyed_documents(
        instantiate(cfg.corpus_fit.source), max_documents=cfg.model.fit_documents
    )
    return FitText(str(cfg.corpus_fit.name), documents, cfg.model.fit_bytes)


def check_ensemble(ways: Sequence[str], weights: object, num_members: int) -> None:
    """Refuses an ensemble that could not be made.

    Args:
        ways: How probabilities are to be combined.
        weights: None, ``fit``, or one a member.
        num_members: Number of members.

    Raises:
        ValueError: A way is none, weights do not fit the members, or can't be fitted.
    """
    unknown = [way for way in ways if way not in COMBINES]
    if unknown:
        raise ValueError(
            f"model.combine has {unknown}: expected one or several of {', '.join(COMBINES)}."
        )
    if weights == FIT and set(ways) != {MEAN_PROB}:
        raise ValueError(
            f"model.weights={FIT} is for model.combine={MEAN_PROB} alone, and combine is "
            f"{list(ways)}. Evaluate the others in a call of their own, with weights or without."
        )
    if weights != FIT:
        checked_weights(weights, num_members)
