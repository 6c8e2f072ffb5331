"""From the name of a model, as on the command line, to the model."""

import difflib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from alm_lightning.evaluation.ensemble.members import check_same_tokenizer
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.models.loading import load_model, load_view, torch_dtype
from alm_lightning.models.weights.sources import CONFIG_FILE, Folder, Hub, WeightSource
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja")
"""Files of a folder that make a model what it is: weights, settings, tokenizer, chat template."""
HUB = "hub:"
"""Prefix of an id of the hub, where a folder has the same name."""


@dataclass(frozen=True)
class ModelEntry:
    """A model that was found, not loaded yet.

    Attributes:
        name: Its name in tables and folders.
        source: Where its weights are.
        attention: As ``eager``; None for the default of transformers.
        stop_tokens: Special tokens that end a turn, beside the model's own end tokens.
        run: The folder of the run that made it, if it is a student.
    """

    name: str
    source: WeightSource
    attention: str | None
    stop_tokens: tuple[str, ...] = ()
    run: Path | None = None

    def identity(self) -> dict[str, object]:
        """What tells this model from another in the same place, now or earlier."""
        return {**source_identity(self.source), "attention": self.attention}


def source_identity(source: WeightSource) -> dict[str, object]:
    """What tells weights from others in the same place: sizes and times of a folder's files."""
    described: dict[str, object] = {"source": source.describe()}
    if isinstance(source, Folder):
        described["files"] = {
            file.name: [file.stat().st_size, file.stat().st_mtime_ns]
            for pattern in MODEL_FILES
            for file in sorted(source.path.glob(pattern))
        }
    return described


def find_model(text: str, models: Path) -> ModelEntry:
    """Finds a model.

    Args:
        text: The folder of a model, the folder of a run, the name of a file of `models`, or a hub
            id; ``hub:org/model`` is a hub id whatever folders there are.
        models: The folder of YAML files that name models: conf/model.

    Returns:
        The model, not loaded yet.

    Raises:
        FileNotFoundError: `text` is none of these.
    """
    if text.startswith(HUB):
        return _of_hub(text.removeprefix(HUB))
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _of_folder(folder)
    named = models / f"{text}.yaml"
    if named.is_file():
        node = OmegaConf.load(named)
        if OmegaConf.is_missing(node, "name") or "${" in str(OmegaConf.to_container(node)["name"]):
            raise FileNotFoundError(
                f"model={text}: this file of {models} takes a path. Give the path itself."
            )
        return ModelEntry(text, instantiate(node.source), node.attention, tuple(node.stop_tokens))
    # where the first part is a folder, a wrong name is a mistake, not an organisation of the hub
    is_hub_id = text.count("/") == 1 and not text.startswith((".", "/", "~"))
    if is_hub_id and not folder.parent.is_dir():
        return _of_hub(text)
    known = sorted(file.stem for file in models.glob("*.yaml"))
    taken = f"; there is a folder {folder.parent}: if it is one, write {HUB}{text}"
    hub = f"org/model{taken if is_hub_id else ''}"
    raise FileNotFoundError(
        f"model={text}: there is no such folder (looked for {folder.absolute()}{_beside(folder)}), "
        f"and it is not an id of the hub ({hub}), nor one of {', '.join(known)}. Give the "
        "folder of a model, the folder of a run, a hub id, or one of these names."
    )


def _of_hub(hub_id: str) -> ModelEntry:
    return ModelEntry(hub_id.replace("/", "--"), Hub(hub_id=hub_id, revision=None), None)


def _beside(folder: Path) -> str:
    """Folders with a name like that of a path that does not exist."""
    parent = folder.parent
    if not parent.is_dir():
        return ""
    there = [entry.name for entry in parent.iterdir() if entry.is_dir()]
    close = difflib.get_close_matches(folder.name, there, cutoff=0.5)
    return f"; close to it: {', '.join(str(parent / name) for name in close)}" if close else ""


def _of_folder(folder: Path) -> ModelEntry:
    run = None
    if not (folder / CONFIG_FILE).is_file() and (folder / "model" / CONFIG_FILE).is_file():
        folder = folder / "model"
    if (folder.parent / "summary.json").is_file():
        run = folder.parent
    source = Folder(path=str(folder))
    if reason := source.available():
        hint = (
            " Of a run, the folder `model/` is written at its end: continue it with ckpt_path= if "
            "it was stopped."
        )
        raise FileNotFoundError(f"model={folder}: no model to load: {reason}.{hint}")
    attention = None
    config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    if config.get("attn_logit_softcapping"):
        # sdpa leaves it out
        attention = "eager"
    return ModelEntry(_folder_name(folder, run), source, attention, run=run)


def _folder_name(folder: Path, run: Path | None) -> str:
    if run is None:
        return folder.absolute().name
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    return f"{summary.get('experiment', 'run')}-{run.absolute().name}"


def load_entry_view(entry: ModelEntry) -> TokenizerView:
    """The tokenizer of a model that was found, with the tokens that the model is to stop at."""
    view = load_view(entry.source, name=entry.name)
    _check_stop_tokens(entry, view)
    return view


def _check_stop_tokens(entry: ModelEntry, view: TokenizerView) -> None:
    unknown = [text for text in entry.stop_tokens if text not in view.special_ids]
    if unknown:
        raise ValueError(
            f"{entry.name} has stop tokens {unknown} that its tokenizer does not have. Its special "
            f"tokens are {', '.join(view.special_ids)}."
        )


def load_evaluated(entry: ModelEntry, dtype: str, device: str) -> EvaluatedModel:
    """Loads a model with its tokenizer.

    Args:
        entry: The model.
        dtype: Of the weights, as ``auto`` or ``float32``.
        device: Where it is to be, as ``cuda:1``; ``auto`` is an accelerator where there is one.

    Returns:
        The model with its tokenizer.

    Raises:
        ValueError: The tokenizer has more tokens than the model has rows for, or lacks a token to
            stop at.
    """
    model, view = load_model(
        entry.source,
        name=entry.name,
        dtype=torch_dtype(dtype, device),
        attn_implementation=entry.attention,
    )
    _check_stop_tokens(entry, view)
    model.to(torch_device(device))
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    stops = [*ends, *(view.special_ids[text] for text in entry.stop_tokens)]
    # a base model often names neither, and would go on with another turn of its own
    stops += [index for index in (view.roles.get("eos"), view.end_of_turn_id) if index is not None]
    return EvaluatedModel(
        name=entry.name,
        model=model,
        view=view,
        described=entry.source.describe(),
        stop_ids=tuple(dict.fromkeys(stops)),
        run=entry.run,
    )


def torch_device(name: str) -> torch.device:
    """The device of a setting.

    Args:
        name: As ``cuda:1``; ``auto`` is an accelerator where there is one.

    Returns:
        The device.

    Raises:
        ValueError: There is no such kind of device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device is {name!r}: expected auto, cpu, cuda or for example cuda:1 ({error})."
        ) from error


def check_models(entries: Sequence[ModelEntry], ensembles: Sequence[Sequence[ModelEntry]]) -> None:
    """Checks tokenizers and configurations, without loading weights: seconds, not hours.

    Args:
        entries: Models that are to be loaded one after another.
        ensembles: The members of each ensemble.

    Raises:
        OSError: A model or its tokenizer is not available.
        ValueError: A model is not a causal language model, or members have different tokenizers.
    """
    views: dict[str, TokenizerView] = {}
    for entry in [*entries, *(entry for members in ensembles for entry in members)]:
        place = entry.source.describe()
        if place not in views:
            views[place] = load_entry_view(entry)
            _check_config(entry)
    for members in ensembles:
        check_same_tokenizer([(each.name, views[each.source.describe()]) for each in members])


def _check_config(entry: ModelEntry) -> None:
    location = entry.source.resolve()
    try:
        config = AutoConfig.from_pretrained(
            location.path, revision=location.revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{entry.name} ({entry.source.describe()}) can't be loaded: {error}") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"{entry.name} ({entry.source.describe()}) is a model of type {config.model_type}, "
            "which is not a causal language model. Give one that writes text from left to right."
        )
