"""Tokenizers by name: a folder, a hub id, a GGUF file, or ``bytes``."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from alm_lightning.tokenization.byte_view import byte_view
from alm_lightning.tokenization.view import TokenizerView, view_of


def load_tokenizer(spec: str | Path) -> TokenizerView:
    """The project's view of a tokenizer.

    Args:
        spec: ``bytes``, a folder that `save_pretrained` wrote, a ``.gguf`` file, or a hub id.

    Returns:
        The view.

    Raises:
        ValueError: If there is no fast tokenizer by that name, or its family is not supported.
    """
    if str(spec) == "bytes":
        return byte_view()
    path = Path(spec).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        place, options = str(path.parent), {"gguf_file": path.name}
    else:
        place, options = (str(path) if path.exists() else str(spec)), {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no tokenizer at {str(spec)!r}: expected 'bytes', a folder with a tokenizer.json, a "
            f".gguf file, or a hub id that can be reached from here ({error})."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"tokenizer {str(spec)!r} is a {type(tokenizer).__name__}, which has no fast version: "
            "its tokenization can't be followed byte by byte. Convert it to a tokenizer.json first."
        )
    return view_of(tokenizer, name=str(spec))
