"""From the name of a model, as a command line has it, to the model."""

import difflib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.models.loading import load_model, load_view, torch_dtype
from alm_lightning.models.weights.sources import CONFIG_FILE, Folder, Hub, WeightSource
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

HUB = "hub:"
"""Before an id that is to be looked for on the hub, whatever lies here."""


@dataclass(frozen=True)
class Entry:
    """A model that was found, and is not loaded yet.

    Attributes:
        name: What tables and folders call it.
        source: Where its weights are.
        attention: As ``eager``; None for what transformers prefers.
        stop_tokens: Special tokens that end a turn, beside the model's own ends.
        run: The folder of the run that made it, if it is a student.
    """

    name: str
    source: WeightSource
    attention: str | None
    stop_tokens: tuple[str, ...] = ()
    run: Path | None = None

    def identity(self) -> dict[str, object]:
        """What tells this model from another that lies, or lay, in the same place."""
        return {**source_identity(self.source), "attention": self.attention}


def source_identity(source: WeightSource) -> dict[str, object]:
    """What tells weights from others that lie, or lay, in the same place.

    Args:
        source: Where the weights are.

    Returns:
        The place, and of a folder the sizes and times of its files.
    """
    described: dict[str, object] = {"source": source.describe()}
    if isinstance(source, Folder):
        described["files"] = {
            file.name: [file.stat().st_size, file.stat().st_mtime_ns]
            for pattern in ("*.safetensors", "*.json")
            for file in sorted(source.path.glob(pattern))
        }
    return described


def find_model(text: str, models: Path) -> Entry:
    """Finds what a user calls a model.

    Args:
        text: A folder of a model, the folder of a run, the name of a file of `models`, or a hub id;
            ``hub:org/model`` is one whatever folders there are.
        models: The folder of YAML files that name models: conf/model.

    Returns:
        The model, not loaded yet.

    Raises:
        FileNotFoundError: It is none of these.
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
        return Entry(text, instantiate(node.source), node.attention, tuple(node.stop_tokens))
    # in a folder that is there, a name that is not is a slip, and no organisation of the hub
    is_hub_id = text.count("/") == 1 and not text.startswith((".", "/", "~"))
    if is_hub_id and not folder.parent.is_dir():
        return _of_hub(text)
    known = sorted(file.stem for file in models.glob("*.yaml"))
    taken = f"; there is a folder {folder.parent}: if it is one, write {HUB}{text}"
    hub = f"org/model{taken if is_hub_id else ''}"
    raise FileNotFoundError(
        f"model={text}: there is no such folder (looked for {folder.absolute()}{_beside(folder)}), "
        f"and it is no id of the hub ({hub}) and none of {', '.join(known)}. Give the "
        "folder of a model, the folder of a run, a hub id, or one of these names."
    )


def _of_hub(hub_id: str) -> Entry:
    return Entry(hub_id.replace("/", "--"), Hub(hub_id=hub_id, revision=None), None)


def _beside(folder: Path) -> str:
    """What a path that leads nowhere may have been meant to be."""
    parent = folder.parent
    if not parent.is_dir():
        return ""
    there = [entry.name for entry in parent.iterdir() if entry.is_dir()]
    close = difflib.get_close_matches(folder.name, there, cutoff=0.5)
    return f"; close to it: {', '.join(str(parent / name) for name in close)}" if close else ""


def _of_folder(folder: Path) -> Entry:
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
        # which sdpa leaves out
        attention = "eager"
    return Entry(_folder_name(folder, run), source, attention, run=run)


def _folder_name(folder: Path, run: Path | None) -> str:
    if run is None:
        return folder.absolute().name
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    return f"{summary.get('experiment', 'run')}-{run.absolute().name}"


def load_entry_view(entry: Entry) -> TokenizerView:
    """The tokenizer of a model that was found, with the tokens that the model is to stop at."""
    view = load_view(entry.source, name=entry.name)
    _check_stop_tokens(entry, view)
    return view


def _check_stop_tokens(entry: Entry, view: TokenizerView) -> None:
    unknown = [text for text in entry.stop_tokens if text not in view.special_ids]
    if unknown:
        raise ValueError(
            f"{entry.name} is to stop at {unknown}, which its tokenizer does not have. Its special "
            f"tokens are {', '.join(view.special_ids)}."
        )


def load_evaluated(entry: Entry, dtype: str, device: str) -> EvaluatedModel:
    """Loads a model that was found.

    Args:
        entry: The model.
        dtype: Of the weights, as ``auto`` or ``float32``.
        device: Where it is to be, as ``cuda:1``; ``auto`` is an accelerator where there is one.

    Returns:
        The model with its tokenizer.

    Raises:
        ValueError: The tokenizer has more tokens than the model has rows for, or lacks a token that
            it is to stop at.
    """
    model, view = load_model(
        entry.source,
        name=entry.name,
        dtype=torch_dtype(dtype, device),
        attn_implementation=entry.attention,
    )
    _check_stop_tokens(entry, view)
    model.to(_device(device))
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    stops = [*ends, *(view.special_ids[text] for text in entry.stop_tokens)]
    if "eos" in view.roles:
        stops.append(view.roles["eos"])
    return EvaluatedModel(
        name=entry.name,
        model=model,
        view=view,
        described=entry.source.describe(),
        stop_ids=tuple(dict.fromkeys(stops)),
        run=entry.run,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device is {name!r}: expected auto, cpu, cuda or cuda:1, say ({error})."
        ) from error


def plain(node: DictConfig) -> Mapping[str, object]:
    """A configuration as plain values.

    Args:
        node: Any.

    Returns:
        The same, interpolations resolved.
    """
    return OmegaConf.to_container(node, resolve=True)
