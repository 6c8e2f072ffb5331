"""From the name of a model, as a command line has it, to the model."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.evaluation.subject import Subject
from alm_lightning.models.loading import check_pair, load_causal_lm, load_hf_tokenizer, torch_dtype
from alm_lightning.models.sources import CONFIG_FILE, Folder, Hub, WeightSource
from alm_lightning.tokenization.fast import view_of

log = logging.getLogger(__name__)


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
        described = {"source": self.source.describe(), "attention": self.attention}
        if isinstance(self.source, Folder):
            files = sorted(
                file
                for pattern in ("*.safetensors", "*.json")
                for file in self.source.path.glob(pattern)
            )
            described["files"] = [
                [file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files
            ]
        return described


def find_model(text: str, models: Path) -> Entry:
    """Finds what a user calls a model.

    Args:
        text: A folder of a model, the folder of a run, the name of a file of `models`, or a hub id.
        models: The folder of YAML files that name models: conf/student.

    Returns:
        The model, not loaded yet.

    Raises:
        FileNotFoundError: It is none of these.
    """
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
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        return Entry(text.replace("/", "--"), Hub(hub_id=text, revision=None), None)
    known = sorted(file.stem for file in models.glob("*.yaml"))
    raise FileNotFoundError(
        f"model={text}: there is no such folder (looked for {folder.absolute()}), and it is no id "
        f"of the hub (org/model) and none of {', '.join(known)}. Give the folder of a model, the "
        "folder of a run, a hub id, or one of these names."
    )


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


def load_subject(entry: Entry, dtype: str, device: str) -> Subject:
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
    view = view_of(load_hf_tokenizer(entry.source), name=entry.name)
    model = load_causal_lm(
        entry.source, dtype=torch_dtype(dtype), attn_implementation=entry.attention
    )
    check_pair(model, view.num_tokens, entry.name)
    model.to(_device(device))
    unknown = [text for text in entry.stop_tokens if text not in view.special_ids]
    if unknown:
        raise ValueError(
            f"{entry.name} is to stop at {unknown}, which its tokenizer does not have. Its special "
            f"tokens are {', '.join(view.special_ids)}."
        )
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    stops = [*ends, *(view.special_ids[text] for text in entry.stop_tokens)]
    if "eos" in view.roles:
        stops.append(view.roles["eos"])
    return Subject(
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


def with_unique_names(entries: Sequence[Entry], names: Sequence[str] | None) -> list[Entry]:
    """The same models, under names that differ.

    Args:
        entries: The models.
        names: What to call them; None for names of their own.

    Returns:
        The models; of those with one name, the second and later ones get a number.

    Raises:
        ValueError: Not as many names as models, or one of them twice.
    """
    if names is not None:
        if len(names) != len(entries) or len(set(names)) != len(names):
            raise ValueError(
                f"names has {list(names)}, for {len(entries)} models: expected a different name "
                "for each."
            )
        return [_renamed(entry, name) for entry, name in zip(entries, names, strict=True)]
    taken = {entry.name for entry in entries}
    given: set[str] = set()
    unique = []
    for entry in entries:
        name, number = entry.name, 2
        while name in given or (name != entry.name and name in taken):
            name, number = f"{entry.name}-{number}", number + 1
        given.add(name)
        unique.append(entry if name == entry.name else _renamed(entry, name))
    return unique


def _renamed(entry: Entry, name: str) -> Entry:
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise ValueError(
            f"names has {name!r}: expected a name that a folder can have, without slashes."
        )
    return Entry(name, entry.source, entry.attention, entry.stop_tokens, entry.run)


def members_of(node: DictConfig) -> list[str]:
    """The models that a configuration names.

    Args:
        node: `model` of the configuration.

    Returns:
        Their names as a user gave them.

    Raises:
        ValueError: None is named.
    """
    is_ensemble = node.kind == "ensemble"
    given = node.members if is_ensemble else node.path
    texts = [given] if isinstance(given, str) else list(given or [])
    if len(texts) < (2 if is_ensemble else 1):
        raise ValueError(
            "model=ensemble needs model.members=[a,b], at least two models."
            if is_ensemble
            else "no model is named. Say model=PATH: the folder of a model, the folder of a run "
            "(outputs/<experiment>/<time>), a hub id, or gemma3_270m; model=[a,b] for several."
        )
    return [str(text) for text in texts]


def plain(node: DictConfig) -> Mapping[str, object]:
    """A configuration as plain values.

    Args:
        node: Any.

    Returns:
        The same, interpolations resolved.
    """
    return OmegaConf.to_container(node, resolve=True)
