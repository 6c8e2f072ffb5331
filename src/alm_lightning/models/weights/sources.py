"""Where weights come from: the hub, a folder, or the first of several places that has them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from huggingface_hub import constants, try_to_load_from_cache

log = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
FOLDER_NEEDS = (
    "config.json, model.safetensors (or its shards and their index), tokenizer.json and "
    "tokenizer_config.json"
)


@dataclass(frozen=True)
class Location:
    """What ``from_pretrained`` is called with.

    Attributes:
        path: A folder, or an id on the hub.
        revision: Branch, tag or commit on the hub; None for the newest, and for a folder.
        passed_over: Places that would have come first but do not have the weights, each with its
            reason; for the message if this one fails as well.
    """

    path: str
    revision: str | None = None
    passed_over: tuple[str, ...] = ()


@runtime_checkable
class Place(Protocol):
    """A source that may be available or not: of weights, or of a tokenizer."""

    def available(self) -> str | None:
        """Why it is not available, with what would help; None if it is, or may be."""
        ...

    def describe(self) -> str:
        """The place in a few words, for logs and model cards."""
        ...


@runtime_checkable
class WeightSource(Place, Protocol):
    """A place that has a model and its tokenizer.

    The sources are plain classes and no dataclasses: OmegaConf would take a dataclass inside the
    mapping of `FirstAvailable` for a configuration, and swallow it.
    """

    def resolve(self) -> Location:
        """The place in the form that ``from_pretrained`` takes, prepared if it has to be."""
        ...


class Hub:
    """A model on the Hugging Face hub.

    Args:
        hub_id: As ``google/gemma-3-270m``.
        revision: Branch, tag or commit; None for the newest.
    """

    def __init__(self, *, hub_id: str, revision: str | None) -> None:
        self.hub_id = hub_id
        self.revision = revision

    def available(self) -> str | None:
        """Available unless the hub is switched off and the model was never fetched."""
        if not constants.HF_HUB_OFFLINE:
            return None
        cached = try_to_load_from_cache(self.hub_id, CONFIG_FILE, revision=self.revision)
        # besides a path and None there is a mark for "known not to exist"
        if isinstance(cached, str):
            return None
        return (
            f"HF_HUB_OFFLINE is set and {self.hub_id} is not in the cache of the hub: unset it, or "
            f"fetch the model once with `hf download {self.hub_id}`"
        )

    def resolve(self) -> Location:
        """The id itself: transformers fetches and caches."""
        return Location(self.hub_id, self.revision)

    def describe(self) -> str:
        """Id and revision."""
        return f"hub model {self.hub_id} (revision {self.revision or 'main'})"


class Folder:
    """A folder that ``save_pretrained`` or an export of this project wrote.

    Args:
        path: The folder; ``~`` is spelled out.
    """

    def __init__(self, *, path: str) -> None:
        # a folder may be named for a year, which Hydra reads as a number
        self.path = Path(str(path)).expanduser()

    def available(self) -> str | None:
        """Available if it holds a model's configuration."""
        if (self.path / CONFIG_FILE).is_file():
            return None
        if not self.path.is_dir():
            hub = ""
            if not self.path.is_absolute() and len(self.path.parts) == len(("owner", "model")):
                hub = (
                    f"; a model of the hub is Hub(hub_id={str(self.path)!r}) (student=hub "
                    f"student.source.hub_id={self.path}, and likewise for a teacher)"
                )
            return f"there is no folder {self.path.absolute()}: it should hold {FOLDER_NEEDS}{hub}"
        names = ", ".join(sorted(entry.name for entry in self.path.iterdir())) or "nothing"
        return (
            f"the folder {self.path} has no {CONFIG_FILE}: it should hold {FOLDER_NEEDS}, and "
            f"holds {names}"
        )

    def resolve(self) -> Location:
        """The folder itself."""
        if reason := self.available():
            raise FileNotFoundError(f"No model to load: {reason}.")
        return Location(str(self.path))

    def describe(self) -> str:
        """The path."""
        return f"folder {self.path}"


Source = TypeVar("Source", bound=Place)
Result = TypeVar("Result")


class InOrder(Generic[Source]):
    """Several places that may have the same thing, in the order of preference.

    Args:
        sources: By name, in the order of preference. A None takes a place out, so that a
            command line can switch one off: ``student.source.sources.package=null``.
    """

    def __init__(self, *, sources: Mapping[str, Source | None]) -> None:
        self.sources = {name: source for name, source in sources.items() if source is not None}
        if not self.sources:
            raise ValueError(
                f"{type(self).__name__} needs at least one source, and was given none."
            )

    def available(self) -> str | None:
        """Available if one of them is."""
        reasons = {name: source.available() for name, source in self.sources.items()}
        if None in reasons.values():
            return None
        return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())

    def describe(self) -> str:
        """All of them, in their order."""
        return ", else ".join(source.describe() for source in self.sources.values())

    def _first(self, what: str, use: Callable[[Source], Result]) -> tuple[Result, list[str]]:
        """The result of `use` for the first available place, and why earlier places were skipped.

        A place that turns out to be unreachable is skipped with a warning. One that gives something
        else than was expected, such as a file with another hash, ends the search.
        """
        skipped: list[str] = []
        for name, source in self.sources.items():
            reason = source.available()
            if reason is None:
                log.info("%s from %s (%s)", what, name, source.describe())
                for place in skipped:
                    log.info("  not from %s", place)
                try:
                    return use(source), skipped
                except OSError as error:
                    # what has to be fetched first may turn out not to be there
                    reason = str(error)
                    log.warning("%s not from %s: %s", what, name, reason)
            skipped.append(f"{name}: {reason}")
        raise FileNotFoundError(
            f"{what}: not available anywhere. Fix one of these:"
            + "".join(f"\n  - {reason}" for reason in skipped)
        )


class FirstAvailable(InOrder[WeightSource]):
    """The first of several places that has the weights, and gives them."""

    def resolve(self) -> Location:
        """The location of the first place that is available, with the reasons against others."""
        location, skipped = self._first("Weights", lambda source: source.resolve())
        return replace(location, passed_over=tuple(skipped))
