"""A run's own held-out figures, computed again from the folder that it exported."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.evaluate.models import source_identity
from alm_lightning.app.train.build import SCORES, data_plan, stored_model
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.distillation.checks import chosen_precision
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Record, Result
from alm_lightning.evaluation.paired import side_of, totals_of
from alm_lightning.evaluation.suites.compare import paired_figures
from alm_lightning.evaluation.texts import digest
from alm_lightning.models.pair import Scorer
from alm_lightning.renamed import with_current_names

SETS = {"heldout": "", "other": "_other"}
"""The evaluation sets of a run, and the suffixes of their figures' names."""


class RunFigures:
    """Reads the configuration of a run, and evaluates its model on the same windows.

    The figures equal those that the run printed, except for the rounding of exported weights
    (`export_dtype`) and loaded ones (`dtype`). They are computed in the run's precision.
    """

    def prepare(self) -> Sequence[str]:
        """The names of the evaluation sets; their text depends on the run."""
        return list(SETS)

    def basis(self, name: str, run: Path | None) -> Mapping[str, object]:
        """What the figures of a run depend on: its settings, its text and its teacher.

        Args:
            name: Of the model.
            run: The folder of the run that made it.

        Returns:
            Hashes, and the files of the teacher. Text that is read as a stream is not checked.

        Raises:
            FileNotFoundError: No run made the model, or its configuration is gone.
        """
        saved = _config_of(name, run)
        cfg = _current(saved)
        _check_weights(cfg, name)
        documents = data_plan(cfg).read()
        texts = {"train": documents.train, **documents.evaluation}
        return {
            "configuration": digest(OmegaConf.to_yaml(saved)),
            "text": {
                side: _digest_of(text) for side, text in texts.items() if isinstance(text, Sequence)
            },
            "teacher": source_identity(instantiate(cfg.teacher.source)),
        }

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Scores the windows of the evaluation sets by student and teacher.

        Args:
            evaluated: A student that a run exported.
            keys: Of the evaluation sets.

        Yields:
            Totals of each set.
        """
        cfg = _current(_config_of(evaluated.name, evaluated.run))
        _check_weights(cfg, evaluated.name)
        plan = data_plan(cfg)
        device = evaluated.model.device
        teacher = stored_model(cfg.teacher).load("teacher", device.type).to(device)
        student = Scorer(evaluated.model, evaluated.view)
        data = plan.pair(plan.read(), student, teacher)
        teaching = replace(evaluated, name=cfg.teacher.name, model=teacher.model, view=teacher.view)
        precision = chosen_precision(cfg.trainer.precision, cfg.trainer.accelerator)
        mixed = precision == "bf16-mixed"
        for key in keys:
            totals: dict[str, float] = {}
            windows = data.evaluation[key]
            size = data.collator.micro_batch_size
            for start in range(0, len(windows), size):
                own = [windows[i] for i in range(start, min(start + size, len(windows)))]
                batch = data.collator.batch(own)
                # as Lightning does; the other precisions that we allow have no autocast
                with torch.autocast(evaluated.model.device.type, torch.bfloat16, enabled=mixed):
                    sides = (
                        side_of(evaluated, batch, batch.student),
                        side_of(teaching, batch, batch.teacher),
                    )
                for name, value in totals_of(batch, *sides).items():
                    totals[name] = totals.get(name, 0.0) + value
            yield key, dict(totals)

    def result(self, records: Mapping[str, Record]) -> Result:
        """The figures that end a run; they are totals of windows, without standard errors.

        Args:
            records: Totals of both sets.

        Returns:
            Figures of the training domain, and of the other domain with names in ``_other``.
        """
        return Result(
            {
                name + SETS[key]: figure
                for key, totals in records.items()
                for name, figure in paired_figures([totals]).items()
            }
        )


def _digest_of(documents: Iterable[AnyDocument]) -> str:
    return digest("\n".join(digest(document.text) for document in documents))


def _config_of(name: str, run: Path | None) -> DictConfig:
    if run is None:
        raise FileNotFoundError(
            f"harness=run evaluates a model on the held-out text of the run that made it, and "
            f"{name} lies in no run's folder. Give model=outputs/<experiment>/<time>, or take "
            "harness=bits_per_byte, which needs only a corpus."
        )
    path = run / ".hydra" / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} has no .hydra/config.yaml, so its settings are not known. Take "
            "harness=compare with the corpus that it was held out from."
        )
    return OmegaConf.load(path)


def _current(saved: DictConfig) -> DictConfig:
    return OmegaConf.create(with_current_names(OmegaConf.to_container(saved, resolve=False)))


def _check_weights(cfg: DictConfig, name: str) -> None:
    """Refuses a run whose teacher was never loaded."""
    if SCORES in cfg.teacher:
        raise ValueError(
            f"{name} learned from a store of scores ({cfg.teacher.scores.path}), and harness=run "
            "loads the teacher's weights. summary.json has the figures of the run; elsewhere take "
            "harness=compare, with the teacher as harness.compare.teacher."
        )
