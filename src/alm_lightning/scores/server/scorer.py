"""The teacher behind an endpoint, in place of a model."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import numpy as np
from anyio.from_thread import start_blocking_portal
from jaxtyping import Float, Int

from alm_lightning.scores.sequences import TokenScores
from alm_lightning.scores.server.answers import UNKNOWN, Answer
from alm_lightning.scores.server.boundary import boundary_logprobs
from alm_lightning.scores.server.client import Client
from alm_lightning.scores.server.dialects import VLLM, Dialect, Echo, EchoText, SGLang
from alm_lightning.scores.server.settings import (
    NoPromptLogprobs,
    RequestRefused,
    ServerError,
    ServerSettings,
)
from alm_lightning.scores.server.strings import TokenStrings
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

PROBE = "A short text, to see what the endpoint answers.\n"

LINE_EVERY = 60.0
"""Seconds between two lines of the log that say how far it is."""


class ServerScorer:
    """Scores sequences by asking an endpoint; a `SequenceScorer`.

    Log-probabilities of tokens are the endpoint's. Boundary masses are estimated from the
    alternatives (`boundary.boundary_logprobs`); hidden states are None.

    Args:
        settings: Which endpoint, and how it is asked.
        view: The teacher's tokenizer, which must be that of the served model.
    """

    def __init__(self, settings: ServerSettings, view: TokenizerView) -> None:
        self._settings = settings
        self._view = view
        self._strings = TokenStrings(view)
        self._dialect: tuple[str, Dialect] | None = None
        self._model = settings.model
        self._seen = 0.0
        self._positions = 0

    @property
    def coverage(self) -> float:
        """Mean mass of the alternatives that boundary masses were estimated from; nan at first."""
        return self._seen / self._positions if self._positions else float("nan")

    def describe(self) -> str:
        """The endpoint, the model, and what is estimated."""
        settings = self._settings
        dialect = self._dialect[0] if self._dialect else settings.dialect
        return (
            f"{self._model or 'the model'} behind {settings.base_url} ({dialect}), boundary masses "
            f"estimated from {settings.top} alternatives"
        )

    def score(self, sequences: Sequence[Int[np.ndarray, " _"]]) -> Iterator[TokenScores]:
        """What the endpoint says of each sequence, in their order.

        Requests are made from a thread, a few sequences ahead of the one that is returned, and
        given up when the caller stops.

        Args:
            sequences: Whole sequences, start token included.

        Yields:
            TokenScores: As many as there are sequences.

        Raises:
            ServerError: The endpoint can't be asked, or answers of something else.
        """
        if not len(sequences):
            return
        with start_blocking_portal() as portal:
            client = Client(self._settings, self._model)
            waiting: deque[Future[Answer]] = deque()
            try:
                if self._dialect is None:
                    self._dialect = portal.call(self._chosen, client)
                    self._model = portal.call(client.model)
                    log.info("Teacher: %s", self.describe())
                dialect = self._dialect[1]
                report = _Lines(len(sequences))
                for ids in sequences:
                    # twice as many as are asked at a time: one slow answer holds up no others
                    if len(waiting) >= 2 * self._settings.concurrency:
                        yield self._scores(waiting.popleft().result(), report)
                    waiting.append(portal.start_task_soon(dialect.ask, client, ids.tolist()))
                while waiting:
                    yield self._scores(waiting.popleft().result(), report)
            finally:
                for future in waiting:
                    future.cancel()
                portal.call(client.close)
        log.info(
            "Teacher: boundary masses are estimates; on average, the alternatives seen had %.1f%% "
            "of the mass",
            100 * self.coverage,
        )

    async def _chosen(self, client: Client) -> tuple[str, Dialect]:
        """The dialect of the settings, or the first one in which the endpoint answers a probe."""
        settings = self._settings
        makers: dict[str, Callable[[], Dialect]] = {
            "vllm": lambda: VLLM(self._strings, settings.top),
            "echo": lambda: Echo(self._strings, settings.top),
            "echo_text": lambda: EchoText(
                self._strings,
                settings.top,
                num_tokens=self._view.num_tokens,
                start_id=self._view.start_id,
            ),
            "sglang": lambda: SGLang(self._strings, settings.top),
        }
        probe = [self._view.start_id, *self._view.encode(PROBE).ids.tolist()]
        names = makers if settings.dialect == "auto" else [settings.dialect]
        reasons = []
        for name in names:
            dialect = makers[name]()
            try:
                # one that refuses for good, as with status 500, is not asked again and again
                await dialect.ask(client, probe, retries=1 if len(names) > 1 else None)
            except (NoPromptLogprobs, RequestRefused) as error:
                reasons.append(f"{name}: {error}")
                continue
            return name, dialect
        tried = "\n".join(f"- {reason}" for reason in reasons)
        raise ServerError(
            f"{settings.base_url} does not return log-probabilities of a prompt, which vLLM, "
            "SGLang and llama-cpp-python's server (with --logits_all true) do; llama.cpp's own "
            "server and endpoints for chats do not. Serve the teacher with one of these, or set "
            f"teacher.server.dialect. What was tried:\n{tried}"
        )

    def _scores(self, answer: Answer, report: "_Lines") -> TokenScores:
        boundary, seen = boundary_logprobs(answer)
        self._seen += float(seen.sum())
        self._positions += len(seen)
        report(len(seen), self.coverage)
        keep = self._settings.keep_top
        top = likeliest(answer, keep, self._view.num_tokens) if keep else (None, None)
        return TokenScores(
            logprobs=answer.logprobs.astype(np.float32),
            boundary_logprobs=boundary.astype(np.float32),
            top_ids=top[0],
            top_logprobs=top[1],
        )


def likeliest(
    answer: Answer, keep: int, num_tokens: int
) -> tuple[Int[np.ndarray, "pos top"], Float[np.ndarray, "pos top"]]:
    """The likeliest alternatives whose ids are known, the likeliest first.

    Args:
        answer: Of an endpoint.
        keep: How many.
        num_tokens: Ids from this one on are padding of the model.

    Returns:
        Their ids, `UNKNOWN` where there are fewer; and log-probabilities, nats, -inf there.
    """
    ids, logprobs = answer.ids[:-1], answer.alternative_logprobs[:-1]
    logprobs = np.where((ids >= 0) & (ids < num_tokens), logprobs, -np.inf)
    order = np.argsort(-logprobs, axis=1, kind="stable")[:, :keep]
    found = np.take_along_axis(logprobs, order, axis=1)
    known = np.where(np.isfinite(found), np.take_along_axis(ids, order, axis=1), UNKNOWN)
    missing = ((0, 0), (0, keep - known.shape[1]))
    return (
        np.pad(known, missing, constant_values=UNKNOWN).astype(np.int32),
        np.pad(found, missing, constant_values=-np.inf).astype(np.float32),
    )


class _Lines:
    """Lines of the log, now and then, that say how far it is."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._tokens = 0
        self._start = self._last = time.monotonic()

    def __call__(self, tokens: int, coverage: float) -> None:
        self._done += 1
        self._tokens += tokens
        now = time.monotonic()
        if now - self._last >= LINE_EVERY:
            self._last = now
            log.info(
                "Teacher: %d of %d sequences, %.0f tokens/s, alternatives with %.1f%% of the mass",
                self._done,
                self._total,
                self._tokens / (now - self._start),
                100 * coverage,
            )
