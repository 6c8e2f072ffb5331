"""Models and tokenizers that are given to the library: objects, folders, names of the hub."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from alm_lightning.distillation.models import GivenModel, ModelInput, StoredModel, TeacherInput
from alm_lightning.distillation.stores import (
    SeveralScores,
    StoredScores,
    check_combine,
    is_store,
    scored,
)
from alm_lightning.models.loading import load_hf_tokenizer
from alm_lightning.models.new_tokenizer import (
    NewTokenizer,
    TokenizerFile,
    TokenizerOfModel,
    TokenizerSource,
)
from alm_lightning.models.own_vocabulary import OwnTokenizer
from alm_lightning.models.structure import layers_of
from alm_lightning.models.weights.sources import CONFIG_FILE, Folder, Hub, WeightSource
from alm_lightning.tokenization.bytes.view import ByteEncoder, byte_view_like
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.specials.roles import KEEP
from alm_lightning.tokenization.view import TokenizerView

Model: TypeAlias = PreTrainedModel | str | Path
Taught: TypeAlias = Model | Sequence[str | Path]
"""Whoever teaches: a model, the folder of a store of scores, or several such folders."""
Tokenizer: TypeAlias = PreTrainedTokenizerBase | TokenizerView | str | Path
Change: TypeAlias = Callable[[TokenizerView], TokenizerView]
"""From a model's tokenizer to its student's."""


class ViewSource:
    """A tokenizer that is in memory already."""

    def __init__(self, view: TokenizerView) -> None:
        """Keeps the tokenizer.

        Args:
            view: Its view.
        """
        self.view = view

    def available(self) -> None:
        """It is at hand."""

    def load(self, name: str) -> TokenizerView:
        """The tokenizer."""
        del name
        return self.view

    def describe(self) -> str:
        """Its name."""
        return self.view.name


def model_input(
    model: Model, tokenizer: Tokenizer | None, *, argument: str, dtype: str
) -> ModelInput:
    """A model that was given.

    Args:
        model: A causal language model of transformers, a folder or a name of the hub.
        tokenizer: Its tokenizer; None for that of its folder or its name.
        argument: ``student`` or ``teacher``, for errors.
        dtype: Of weights that are loaded.

    Returns:
        The model; of one that is not an object, nothing is read yet.

    Raises:
        TypeError: It is none of these.
        ValueError: A model without a name came without a tokenizer, or there is no such tokenizer.
    """
    if isinstance(model, str | Path):
        if tokenizer is not None:
            raise ValueError(
                f"{argument}_tokenizer goes with a model object; {argument}={str(model)!r} is "
                f"loaded with its own tokenizer. Leave {argument}_tokenizer out."
            )
        name = str(model)
        return StoredModel(name=name, licence=_licence(name), source=_source(name), dtype=dtype)
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"{argument} is a {type(model).__name__}: expected a model of transformers, a folder, "
            "or a name of the hub."
        )
    name = str(model.name_or_path or model.config.name_or_path)
    if tokenizer is None and not name:
        raise ValueError(
            f"{argument} is a {type(model).__name__} without a name_or_path, so its tokenizer is "
            f"not known. Give it: {argument}_tokenizer=..."
        )
    name = name or type(model).__name__
    return GivenModel(
        name=name,
        licence=_licence(name),
        model=model,
        tokenizer=_hf_tokenizer(name if tokenizer is None else tokenizer, f"{argument}_tokenizer"),
    )


def teacher_input(
    teacher: Taught,
    tokenizer: Tokenizer | None,
    *,
    dtype: str,
    weights: Sequence[float | int] | None,
    combine: str,
) -> TeacherInput:
    """The teacher that was given, or several.

    Args:
        teacher: A model, the folder of a store of scores, or several such folders.
        tokenizer: Of a model that is an object.
        dtype: Of weights that are loaded.
        weights: How much each of several teachers counts; None for all alike.
        combine: How several are combined.

    Returns:
        The teacher; of a store, what it is of is read.

    Raises:
        FileNotFoundError: One of several folders is no store.
        TypeError: It is none of these, or one of several is no folder.
        ValueError: Stores do not go together, or an argument is not what is expected.
    """
    if isinstance(teacher, str | Path | PreTrainedModel):
        folder = Path(teacher).expanduser() if isinstance(teacher, str | Path) else None
        if folder is None or not is_store(folder):
            if weights is not None:
                raise ValueError(
                    f"teacher_weights is {weights}, and there is one teacher. Give several stores "
                    "of scores, teacher=['a', 'b'], or leave the weights out."
                )
            check_combine(combine, num_teachers=1)
            return model_input(teacher, tokenizer, argument="teacher", dtype=dtype)
        folders = [folder]
    else:
        folders = _folders(teacher)
    if tokenizer is not None:
        raise ValueError(
            "a store of scores has its teacher's tokenizer: leave teacher_tokenizer out."
        )
    return scored(folders, weights, combine)


def _folders(teachers: object) -> list[Path]:
    """Of several teachers the folders."""
    if not isinstance(teachers, Sequence) or isinstance(teachers, bytes):
        raise TypeError(
            f"teacher is a {type(teachers).__name__}: expected a model of transformers, a folder, "
            "a name of the hub, or a list of folders of stores of scores."
        )
    for place, each in enumerate(teachers):
        if not isinstance(each, str | Path):
            raise TypeError(
                f"teacher is a list, and its entry {place} a {type(each).__name__}: expected "
                "folders of stores of scores alone. Of several teachers each must be scored first, "
                "and none is loaded: alm-score teacher=... scores.path=DIR windows.cut_bytes=250, "
                "and then teacher=[DIR, ...]."
            )
    if not teachers:
        raise ValueError("teacher is an empty list: expected folders of stores of scores.")
    return [Path(each).expanduser() for each in teachers]


def cut_bytes_of(teacher: TeacherInput) -> int | None:
    """Where texts are cut for a teacher that was scored: as they were for its store.

    Args:
        teacher: The teacher.

    Returns:
        Bytes; None where they are not.
    """
    if not isinstance(teacher, StoredScores | SeveralScores):
        return None
    # those of several are equal
    return teacher.stores[0].manifest.plan.cut_bytes


def _licence(name: str) -> str:
    return f"the licence of {name}"


def _source(name: str) -> WeightSource:
    path = Path(name).expanduser()
    # org/model is a name of the hub unless there is such a folder
    is_hub_name = not path.exists() and not path.is_absolute() and name[0] not in "~."
    return Hub(hub_id=name, revision=None) if is_hub_name else Folder(path=name)


def _hf_tokenizer(tokenizer: Tokenizer, argument: str) -> PreTrainedTokenizerFast:
    if isinstance(tokenizer, TokenizerView):
        return tokenizer.hf
    if isinstance(tokenizer, str | Path):
        return load_hf_tokenizer(_source(str(tokenizer)))
    return _checked(tokenizer, argument)


def _checked(tokenizer: object, argument: str) -> PreTrainedTokenizerFast:
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        return tokenizer
    advice = (
        "its tokenization can't be followed byte by byte: convert it to a tokenizer.json"
        if isinstance(tokenizer, PreTrainedTokenizerBase)
        else "give a tokenizer of transformers, a folder, or a name of the hub"
    )
    raise TypeError(
        f"{argument} is a {type(tokenizer).__name__}: expected a fast tokenizer; {advice}."
    )


def tokenizer_change(
    tokenizer: Tokenizer | Change | None, *, student: str, keep: Sequence[str]
) -> tuple[Change, str]:
    """How a student gets its tokenizer.

    Args:
        tokenizer: None for its own; ``bytes``; a tokenizer, a folder or a name of the hub, for the
            ordinary tokens of another one; or a function from the old tokenizer to the new.
        student: The student's name.
        keep: Special tokens to keep beside BOS, EOS, pad and those of the chat template.

    Returns:
        The change, and the name of the embeddings that go with it.
    """
    if tokenizer is None:
        return OwnTokenizer(name=student, chat_template=None), "own"
    if isinstance(tokenizer, str) and tokenizer == "bytes":
        return partial(byte_view_like, keep=keep or None, special_tokens=KEEP), "bytes"
    if isinstance(tokenizer, TokenizerView) and isinstance(tokenizer.encoder, ByteEncoder):
        return lambda old: tokenizer, "bytes"
    if callable(tokenizer) and not isinstance(tokenizer, PreTrainedTokenizerBase):
        return tokenizer, "fvt"
    source: TokenizerSource
    if isinstance(tokenizer, str | Path):
        name = str(tokenizer)
        path = Path(name).expanduser()
        is_model = (path / CONFIG_FILE).is_file()
        source = (
            TokenizerOfModel(weights=Folder(path=name)) if is_model else TokenizerFile(path=name)
        )
    else:
        view = (
            tokenizer
            if isinstance(tokenizer, TokenizerView)
            else view_of(
                _checked(tokenizer, "tokenizer"), name=str(tokenizer.name_or_path or "tokenizer")
            )
        )
        name, source = view.name, ViewSource(view)
    return NewTokenizer(name=name, source=source, special_tokens=KEEP, keep=keep), "fvt"


@contextmanager
def unchanged(models: Sequence[PreTrainedModel], *, is_shared: bool) -> Iterator[None]:
    """Gives models that a run freezes, moves, compiles and the like back as they were.

    Args:
        models: Objects of the caller's.
        is_shared: Whether a student goes on with their frozen weights, which then stay frozen.
    """
    states = [
        (model, model.training, model.device, [(p, p.requires_grad) for p in model.parameters()])
        for model in models
    ]
    attention = [model.config._attn_implementation for model in models]
    # a compiled block has a forward of its own
    blocks = [(block, vars(block).get("forward")) for m in models for block in layers_of(m)]
    try:
        yield
    finally:
        for block, forward in blocks:
            vars(block).pop("forward", None)
            if forward is not None:
                block.forward = forward
        for model, name in zip(models, attention, strict=True):
            if model.config._attn_implementation != name:
                model.set_attn_implementation(name)
        for model, is_training, device, parameters in states:
            model.train(is_training)
            if model.device != device:
                model.to(device)  # type: ignore[arg-type]  # wrapped by transformers
            if not is_shared:
                for parameter, requires_grad in parameters:
                    parameter.requires_grad_(requires_grad)
