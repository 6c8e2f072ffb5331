"""The ways in which servers take token ids and return log-probabilities of a prompt.

Every request has one token more than the sequence: alternatives in its place are what the teacher
says of the token after the sequence, which no answer has otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from anyio import Lock

from alm_lightning.scores.server.answers import Alternative, Answer, answer_of, part
from alm_lightning.scores.server.client import Client
from alm_lightning.scores.server.echo import read_echo
from alm_lightning.scores.server.settings import NoPromptLogprobs, ServerError
from alm_lightning.scores.server.strings import TokenStrings

SAMPLING = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0}
"""One token is generated, the least that all servers allow, and not looked at."""

TRIES = 8
"""How often llama-cpp-python is asked about a first token until it draws one that is no end."""


class Dialect(Protocol):
    """A way of asking."""

    async def ask(self, client: Client, ids: list[int], *, retries: int | None = None) -> Answer:
        """What the endpoint says of a sequence.

        Args:
            client: The endpoint.
            ids: The sequence, its start token included.
            retries: How often a request is sent again; the settings' number if None.

        Returns:
            The answer.

        Raises:
            NoPromptLogprobs: The endpoint answers, but not so.
            ServerError: It does not answer, or of other tokens than it was sent.
        """
        ...


class VLLM:
    """vLLM's: ``prompt_logprobs`` beside the OpenAI fields, and objects by token id in the answer.

    Fields as in ``vllm/entrypoints/openai/completion/protocol.py`` of vLLM.

    Args:
        strings: The teacher's vocabulary.
        top: Alternatives to ask for.
    """

    def __init__(self, strings: TokenStrings, top: int) -> None:
        self._strings = strings
        self._top = top

    async def ask(self, client: Client, ids: list[int], *, retries: int | None = None) -> Answer:
        """As `Dialect.ask`."""
        model = await client.model()
        sent = [*ids, ids[0]]
        body = {"model": model, "prompt": sent, "prompt_logprobs": self._top, **SAMPLING}
        answer = await client.post("/completions", body, tokens=len(sent), retries=retries)
        positions = part(answer, "choices", 0, "prompt_logprobs")
        if not isinstance(positions, list):
            raise NoPromptLogprobs("no prompt_logprobs in the answer")
        check_count(len(positions), sent, model)
        own, rows = [], []
        for position, (id_, given) in enumerate(zip(sent, positions, strict=True)):
            if position == 0:
                continue
            if not isinstance(given, Mapping) or str(id_) not in given:
                found = list(given)[:5] if isinstance(given, Mapping) else given
                raise other_token(model, position, id_, found)
            values = {int(key): float(value["logprob"]) for key, value in given.items()}
            own.append(values[id_])
            rows.append(
                [Alternative(i, v, self._strings.is_boundary(i)) for i, v in values.items()]
            )
        return answer_of(own[:-1], rows, model)


class SGLang:
    """SGLang's own ``/generate``: triples of a log-probability, an id and a text.

    Fields as in ``python/sglang/srt/managers/io_struct.py`` of SGLang and in its page on the native
    API. Its OpenAI-compatible endpoint has no alternatives for tokens of a prompt by id.

    Args:
        strings: The teacher's vocabulary.
        top: Alternatives to ask for.
    """

    def __init__(self, strings: TokenStrings, top: int) -> None:
        self._strings = strings
        self._top = top

    async def ask(self, client: Client, ids: list[int], *, retries: int | None = None) -> Answer:
        """As `Dialect.ask`."""
        sent = [*ids, ids[0]]
        body = {
            "input_ids": sent,
            "sampling_params": {"max_new_tokens": 1, "temperature": 1.0},
            "return_logprob": True,
            "logprob_start_len": 0,
            "top_logprobs_num": self._top,
        }
        path = f"{client.settings.root_url}/generate"
        answer = await client.post(path, body, tokens=len(sent), retries=retries)
        own = part(answer, "meta_info", "input_token_logprobs")
        tops = part(answer, "meta_info", "input_top_logprobs")
        if not isinstance(own, list) or not isinstance(tops, list):
            raise NoPromptLogprobs("no input_token_logprobs and input_top_logprobs in the answer")
        check_count(len(own), sent, path)
        check_count(len(tops), sent, path)
        for position, (id_, given) in enumerate(zip(sent, own, strict=True)):
            if given[1] != id_:
                raise other_token(path, position, id_, given)
        return answer_of(
            [float(given[0]) for given in own[1:-1]],
            [self._row(*pair) for pair in zip(own[1:], tops[1:], strict=True)],
            path,
        )

    def _row(self, own: Sequence[object], tops: Sequence[Sequence[object]]) -> list[Alternative]:
        # the token itself may be among the alternatives
        values = {int(str(given[1])): float(str(given[0])) for given in (*tops, own)}
        return [Alternative(i, v, self._strings.is_boundary(i)) for i, v in values.items()]


class Echo:
    """OpenAI's first one: ``echo`` with ``logprobs``, for servers that take token ids.

    Args:
        strings: The teacher's vocabulary.
        top: Alternatives to ask for.
    """

    def __init__(self, strings: TokenStrings, top: int) -> None:
        self._strings = strings
        self._top = top

    async def ask(self, client: Client, ids: list[int], *, retries: int | None = None) -> Answer:
        """As `Dialect.ask`."""
        model = await client.model()
        sent = [*ids, ids[0]]
        body = {
            "model": model,
            "prompt": sent,
            "echo": True,
            "logprobs": self._top,
            **SAMPLING,
            # vLLM's: texts of tokens that are no whole characters would be the same
            "return_tokens_as_token_ids": True,
        }
        answer = await client.post("/completions", body, tokens=len(sent), retries=retries)
        echo = read_echo(answer, sent, self._strings, model, top=self._top)
        if not all(echo.rows):
            raise NoPromptLogprobs("no log-probability of the second token in the answer")
        own = [value for value in echo.logprobs if value is not None]
        return answer_of(own, echo.rows, model)


class EchoText(Echo):
    """The same for llama-cpp-python's server, which takes texts alone and cuts them itself.

    Its answer leaves out the token after the start token, too. What the teacher says of that one is
    the same for all sequences: it is asked for once, with all alternatives.

    Args:
        strings: The teacher's vocabulary.
        top: Alternatives to ask for.
        num_tokens: How many tokens the vocabulary has.
        start_id: The token that all sequences start with.
    """

    def __init__(self, strings: TokenStrings, top: int, *, num_tokens: int, start_id: int) -> None:
        super().__init__(strings, top)
        self._num_tokens = num_tokens
        self._start_id = start_id
        self._first: list[Alternative] | None = None
        self._first_lock = Lock()

    async def ask(self, client: Client, ids: list[int], *, retries: int | None = None) -> Answer:
        """As `Dialect.ask`."""
        model = await client.model()
        # special, so that the text before it is cut as if it stood alone; not the start token,
        # which the answer leaves out wherever it is
        added = self._strings.other_special(self._start_id)
        if added is None:
            raise NoPromptLogprobs("a tokenizer with fewer than two special tokens")
        if self._start_id in ids[1:]:
            place = ids.index(self._start_id, 1)
            raise ServerError(
                f"{model} does not say how likely the start token is within a sequence, and a "
                f"sequence of {len(ids)} tokens has it at position {place}. llama-cpp-python "
                "leaves its BOS out of every answer: it can score a model whose documents end with "
                "another token than they start with. Serve the teacher with vLLM or SGLang."
            )
        sent = [*ids, added]
        body = {**self._body(sent, model), "echo": True, "logprobs": self._top}
        answer = await client.post("/completions", body, tokens=len(sent), retries=retries)
        echo = read_echo(answer, sent, self._strings, model, top=self._top)
        rows, logprobs = echo.rows, echo.logprobs
        if not rows[0]:
            everything = await self._after_start(client, model)
            rows[0] = sorted(everything, key=lambda a: -a.logprob)[: self._top]
            if logprobs:
                own = _logprob_of(ids[1], everything, self._num_tokens)
                logprobs[0] = own
                is_boundary = self._strings.is_boundary(ids[1])
                rows[0] = [a for a in rows[0] if a.id != ids[1]]
                rows[0].append(Alternative(ids[1], own, is_boundary))
        return answer_of([value for value in logprobs if value is not None], rows, model)

    async def _after_start(self, client: Client, model: str) -> list[Alternative]:
        """All tokens that the endpoint gives after the start token."""
        async with self._first_lock:
            for seed in range(TRIES):
                if self._first is not None:
                    break
                body = {**self._body([self._start_id], model), "logprobs": self._num_tokens}
                # nothing is said where the token that is drawn ends the text
                body |= {"seed": seed, "temperature": 2.0}
                answer = await client.post("/completions", body, tokens=1)
                given = part(answer, "choices", 0, "logprobs", "top_logprobs", 0)
                if isinstance(given, Mapping):
                    found = (self._strings.alternative(t, v) for t, v in given.items())
                    self._first = [a for a in found if a is not None]
            if self._first is None:
                raise NoPromptLogprobs("nothing about the first token after the start token")
            return self._first

    def _body(self, ids: Sequence[int], model: str) -> dict[str, object]:
        try:
            prompt = self._strings.prompt(ids)
        except UnicodeDecodeError as error:
            raise ServerError(
                f"{model} takes texts alone, and a sequence of {len(ids)} tokens is none: "
                f"{error}. Cut documents between characters, or serve the teacher with vLLM."
            ) from None
        return {"model": model, "prompt": prompt, **SAMPLING}


def _logprob_of(id_: int, alternatives: Sequence[Alternative], num_tokens: int) -> float:
    """The log-probability of a token, or an even share of what is left by those that are known."""
    known = {a.id: a.logprob for a in alternatives}
    if id_ in known:
        return known[id_]
    rest = max(1.0 - sum(math.exp(a.logprob) for a in alternatives), 1e-9)
    return math.log(rest / max(num_tokens - len(alternatives), 1))


def check_count(count: int, sent: Sequence[int], model: str) -> None:
    """Refuses an answer for a prompt of another length than the one that was sent."""
    if count != len(sent):
        raise ServerError(
            f"{model} answered for {count} tokens of a prompt that has {len(sent)}. It adds a "
            "start token of its own, or cuts prompts off: have it take token ids as they are, with "
            "a context of at least the longest sequence and two tokens."
        )


def other_token(model: str, position: int, sent: int, found: object) -> ServerError:
    """The error for an answer about another token than the one that was sent."""
    return ServerError(
        f"{model} answered for other tokens than it was sent: token {sent} was sent at position "
        f"{position}, and the answer there has {found}. The endpoint has another tokenizer than "
        "the teacher of this run: serve the teacher's model, or set teacher to the one that is "
        "served."
    )
