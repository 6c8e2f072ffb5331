"""A student's new tokenizer, with the special tokens of its old one or with its own."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tokenizers import AddedToken, Tokenizer, processors

from alm_lightning.tokenization.chat.formats import FORMATS, fitting
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.overrides import TokenizerOverrides, apply_overrides, fast_tokenizer
from alm_lightning.tokenization.specials.exchange import exchange_specials
from alm_lightning.tokenization.specials.roles import KEEP, check_choice, check_known
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


def new_vocabulary(
    old: TokenizerView, donor: TokenizerView, *, special_tokens: str, keep: Sequence[str]
) -> TokenizerView:
    """The tokenizer that a model gets in place of its `old` one: the ordinary tokens of `donor`.

    Args:
        old: The tokenizer that the model has.
        donor: The other one.
        special_tokens: ``keep`` for the special tokens, the chat template and the BOS of `old`;
            ``replace`` for those of `donor`.
        keep: With ``keep``: special tokens of `old` to have besides its BOS, EOS and pad and those
            that its chat template writes.

    Returns:
        Its view. Where it has no BOS or no pad token, its EOS has that role as well.
    """
    check_known(old, keep, "keep (student.special_tokens)")
    check_choice(special_tokens)
    if special_tokens == KEEP:
        return _with_old_specials(old, donor, keep)
    return _with_own_specials(old, donor)


def _with_old_specials(
    old: TokenizerView, donor: TokenizerView, keep: Sequence[str]
) -> TokenizerView:
    texts = {index: text for text, index in old.special_ids.items()}
    roles = {role: texts[index] for role, index in _all_roles(old).items()}
    kept = list(dict.fromkeys([*roles.values(), *keep, *_written(old)]))
    specials = [_as_before(old, text) for text in kept]
    backend = exchange_specials(donor, specials)
    by_text = {token.content: token for token in specials}
    hf = fast_tokenizer(
        backend,
        model_max_length=old.hf.model_max_length,
        additional_special_tokens=[by_text[t] for t in kept if t not in roles.values()],
        **{f"{role}_token": by_text[text] for role, text in roles.items()},
    )
    name = f"{donor.name} with special tokens of {old.name}"
    apply_overrides(hf, TokenizerOverrides(prepend_bos=old.prepends_bos), name)
    hf.chat_template = old.hf.chat_template
    trimming = _trimming(donor)
    if trimming is not None:
        backend = hf.backend_tokenizer
        backend.post_processor = processors.Sequence([trimming, backend.post_processor])
    left = [text for text in donor.special_ids if text not in by_text]
    log.info("%s: %d special tokens, without %d of the new tokenizer", name, len(kept), len(left))
    return view_of(hf, name=name)


def _with_own_specials(old: TokenizerView, donor: TokenizerView) -> TokenizerView:
    texts = {index: text for text, index in donor.special_ids.items()}
    roles = _all_roles(donor)
    # a new object: the class that its folder names may be one that AutoTokenizer cuts otherwise for
    hf = fast_tokenizer(
        Tokenizer.from_str(donor.hf.backend_tokenizer.to_str()),
        # the model reads as many tokens as before
        model_max_length=old.hf.model_max_length,
        **{f"{role}_token": _as_before(donor, texts[index]) for role, index in roles.items()},
    )
    hf.chat_template = donor.hf.chat_template
    return replace(donor, roles=roles, hf=hf)


def _all_roles(view: TokenizerView) -> dict[str, int]:
    """The ids of BOS, EOS and pad, where EOS stands in for a BOS or pad token that is not there."""
    eos = view.id_of("eos")
    roles = {role: view.roles.get(role, eos) for role in ("bos", "eos", "pad")}
    # a template that writes the BOS has written nothing so far
    if "bos" not in view.roles and "bos_token" in _template_text(view):
        del roles["bos"]
    return roles


def _written(view: TokenizerView) -> list[str]:
    """The special tokens that chats are written with: by the template, or the format that fits."""
    if view.hf.chat_template is None:
        names = fitting(view.special_ids)
        return list(FORMATS[names[0]].special_tokens) if len(names) == 1 else []
    template = _template_text(view)
    return [text for text in view.special_ids if text in template]


def _template_text(view: TokenizerView) -> str:
    template = view.hf.chat_template
    if isinstance(template, Mapping):
        return "\n".join(template.values())
    return template or ""


def _as_before(view: TokenizerView, text: str) -> AddedToken:
    """A special token with the whitespace around it that it swallows, as some do."""
    added = view.hf.backend_tokenizer.get_added_tokens_decoder()
    before = added.get(view.special_ids[text], AddedToken(text))
    return AddedToken(
        text,
        lstrip=before.lstrip,
        rstrip=before.rstrip,
        single_word=before.single_word,
        normalized=False,
        special=True,
    )


def _trimming(view: TokenizerView) -> processors.ByteLevel | None:
    """What keeps spaces out of the spans that a tokenizer reports, where it has that."""
    processor = view.hf.backend_tokenizer.post_processor
    if processor is None:
        return None
    state = json.loads(processor.__getstate__())
    for part in state.get("processors", [state]):
        if part.pop("type") == "ByteLevel":
            return processors.ByteLevel(**part)
    return None
