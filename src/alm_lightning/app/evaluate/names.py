"""Which models a configuration names, and what tables call them."""

from collections.abc import Sequence

from omegaconf import DictConfig

from alm_lightning.app.evaluate.models import Entry


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
