"""Answers to ``echo`` with ``logprobs``, where tokens are texts, and the first one may be missing.

llama-cpp-python leaves the start token out of its answer, and with it the log-probability of the
token after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alm_lightning.scores.server.answers import UNKNOWN, Alternative, part
from alm_lightning.scores.server.settings import NoPromptLogprobs, ServerError
from alm_lightning.scores.server.strings import TokenStrings


@dataclass(frozen=True)
class Echo:
    """What an echo says of the tokens after the first one.

    Attributes:
        logprobs: Of these tokens but the one that was added, nats; None where it is not told.
        rows: Alternatives for these tokens, the added one included; none where they are not told.
        skipped: Whether the answer leaves out the start token.
    """

    logprobs: list[float | None]
    rows: list[list[Alternative]]
    skipped: bool


LOST = Alternative(UNKNOWN, -1e9, False)
"""Without mass: for an alternative that has the text of another one, and so is not in the answer.

Most such tokens are parts of a character, which are no boundaries.
"""


def read_echo(
    answer: object, sent: Sequence[int], strings: TokenStrings, model: str, *, top: int
) -> Echo:
    """What an answer says of the tokens that were sent.

    Args:
        answer: Of the endpoint, to a request for one generated token.
        sent: The sequence, and the token that was added.
        strings: The teacher's vocabulary.
        model: What an error calls the endpoint.
        top: Alternatives that were asked for.

    Returns:
        The log-probabilities and alternatives.

    Raises:
        NoPromptLogprobs: There are none for the prompt.
        ServerError: They are for other tokens, or for the wrong positions.
    """
    texts = part(answer, "choices", 0, "logprobs", "tokens")
    own = part(answer, "choices", 0, "logprobs", "token_logprobs")
    tops = part(answer, "choices", 0, "logprobs", "top_logprobs")
    if not (isinstance(texts, list) and isinstance(own, list) and isinstance(tops, list)):
        raise NoPromptLogprobs("no logprobs with tokens in the answer")
    if len(texts) < min(len(sent) - 1, 3):
        raise NoPromptLogprobs(f"log-probabilities of {len(texts)} tokens, not of the prompt")
    skipped = not _fit(sent, texts, strings) and _fit(sent[1:], texts, strings)
    expected = sent[1:] if skipped else sent
    _check(texts, expected, strings, model)
    generated = part(answer, "usage", "completion_tokens")
    if not skipped and len(texts) == len(sent) and isinstance(generated, int) and generated:
        # llama-cpp-python: what it says of a token is of the one after it
        raise ServerError(
            f"{model} answered with log-probabilities that are shifted by one token, as "
            "llama-cpp-python does where a prompt does not start with the model's BOS. Start it "
            f"with --kv_overrides tokenizer.ggml.bos_token_id=int:{sent[0]}."
        )
    offset = 1 if skipped else 0
    logprobs: list[float | None] = []
    rows = []
    for position, id_ in enumerate(sent[1:], start=1):
        value, given = own[position - offset], tops[position - offset]
        logprobs.append(None if value is None else float(value))
        row = _row(id_, value, given, texts[position - offset], strings)
        rows.append([*row, *[LOST] * (top - len(row))] if row else row)
    return Echo(logprobs[:-1], rows, skipped)


def _fit(ids: Sequence[int], texts: Sequence[str], strings: TokenStrings) -> bool:
    return len(texts) >= len(ids) and all(map(strings.fits, ids, texts))


def _check(texts: Sequence[str], ids: Sequence[int], strings: TokenStrings, model: str) -> None:
    """Refuses an answer about other tokens than those that were sent."""
    if _fit(ids, texts, strings):
        return
    pairs = enumerate(zip(ids, texts, strict=False))
    first = next((i for i, pair in pairs if not strings.fits(*pair)), min(len(ids), len(texts)))
    raise ServerError(
        f"{model} answered for other tokens than it was sent, from position {first} on: for "
        f"{strings.shown(ids[first : first + 4])} it has {texts[first : first + 4]}; "
        f"{len(ids)} tokens were sent, and {len(texts)} are in the answer. The endpoint has "
        "another tokenizer than the teacher of this run, adds a start token of its own "
        "(llama-cpp-python: --kv_overrides tokenizer.ggml.add_bos_token=bool:false), cuts prompts "
        "off, or reads special tokens into a text. Serve the teacher's model."
    )


def _row(
    id_: int, value: float | None, given: object, text: str, strings: TokenStrings
) -> list[Alternative]:
    """Alternatives at a position, the token there included."""
    if value is None or not isinstance(given, Mapping):
        return []
    others = (strings.alternative(other, v) for other, v in given.items() if other != text)
    # of the token itself the id is known, whatever its text
    own = Alternative(id_, float(value), strings.is_boundary(id_))
    return [own, *(other for other in others if other is not None and other.id != id_)]
