"""Class paths of earlier versions, in files that runs and evaluations have saved.

A saved configuration names classes (``_target_``). Packages have moved since 0.1.0, and a run, an
evaluation or a bake-off that was started before must be continued and read all the same.
"""

from collections.abc import Mapping
from typing import Any

PACKAGE = "alm_lightning."
RENAMED = {
    "alignment.whitespace.Whitespace": "alignment.boundaries.Whitespace",
    "app.evaluate_run.RunFigures": "app.evaluate.run.RunFigures",
    "corpus.columns.Messages": "corpus.sources.columns.Messages",
    "corpus.columns.PlainText": "corpus.sources.columns.PlainText",
    "corpus.columns.QuestionAnswer": "corpus.sources.columns.QuestionAnswer",
    "corpus.files.JsonLines": "corpus.sources.files.JsonLines",
    "corpus.files.Parquet": "corpus.sources.files.Parquet",
    "corpus.files.TextFile": "corpus.sources.files.TextFile",
    "corpus.hub.HubDataset": "corpus.sources.hub.HubDataset",
    "corpus.interpreter.PythonManual": "corpus.sources.interpreter.PythonManual",
    "corpus.interpreter.PythonSource": "corpus.sources.interpreter.PythonSource",
    "corpus.reading.Kept": "corpus.reading.Stored",
    "corpus.shelf.InMemory": "corpus.document_store.InMemory",
    "corpus.shelf.OnDisk": "corpus.document_store.OnDisk",
    "evaluation.bits_per_byte.BitsPerByte": "evaluation.suites.bits_per_byte.BitsPerByte",
    "evaluation.blimp.Blimp": "evaluation.suites.blimp.Blimp",
    "evaluation.compare.Compare": "evaluation.suites.compare.Compare",
    "evaluation.generate_harness.Generate": "evaluation.suites.generate.Generate",
    "evaluation.gsm8k.Gsm8k": "evaluation.suites.gsm8k.Gsm8k",
    "evaluation.lm_eval_harness.LmEval": "evaluation.lm_eval.harness.LmEval",
    "models.packages.PackagedGGUF": "models.weights.packages.PackagedGGUF",
    "models.sources.FirstAvailable": "models.weights.sources.FirstAvailable",
    "models.sources.Folder": "models.weights.sources.Folder",
    "models.sources.Hub": "models.weights.sources.Hub",
    "models.wheels.WheelGGUF": "models.weights.wheels.WheelGGUF",
    "tokenization.byte_view.byte_view_like": "tokenization.bytes.view.byte_view_like",
}
"""From the class paths of 0.1.0 to those of today, without the name of the package."""


def with_current_names(saved: Any) -> Any:
    """A saved configuration with the class paths and keys of today; nothing else changes."""
    if isinstance(saved, str):
        path = saved.removeprefix(PACKAGE)
        return PACKAGE + RENAMED[path] if saved != path and path in RENAMED else saved
    if isinstance(saved, Mapping):
        current = {key: with_current_names(value) for key, value in saved.items()}
        if str(saved.get("_target_")) == PACKAGE + "corpus.reading.Kept" and "shelf" in current:
            current["store"] = current.pop("shelf")
        return current
    if isinstance(saved, list):
        return [with_current_names(value) for value in saved]
    return saved
