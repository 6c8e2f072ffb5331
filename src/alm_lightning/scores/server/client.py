"""Requests to an endpoint: bounded, retried, and with errors that say what to do."""

import importlib
import importlib.util
import logging
from collections.abc import Mapping
from types import ModuleType

from anyio import Semaphore

from alm_lightning.scores.server.settings import RequestRefused, ServerError, ServerSettings

log = logging.getLogger(__name__)

WORDS = 400
"""Characters of a server's own message that an error shows."""


def openai_package() -> ModuleType:
    """The package `openai`; an ImportError says how to install it."""
    if importlib.util.find_spec("openai") is None:
        raise ImportError(
            "A teacher behind an endpoint needs the package openai, which is not installed. "
            "Install with: pip install 'alm-lightning[server]'"
        )
    return importlib.import_module("openai")


BUSY = (429, 502, 503, 504)
"""Statuses that say nothing about the request."""


class Client:
    """Asks an endpoint; for use within one event loop.

    Retries, pauses and timeouts are those of the `openai` package.

    Args:
        settings: Which endpoint, and how.
        model: The model's name on the endpoint; None to ask for it where the settings have none.
    """

    def __init__(self, settings: ServerSettings, model: str | None = None) -> None:
        self._package = openai_package()
        self.settings = settings
        self._key = settings.key()
        if settings.sends_key_in_clear:
            log.warning(
                "The key in %s goes to %s without encryption: anyone on the way can read it. Use "
                "https where the server has it.",
                settings.key_variable,
                settings.base_url,
            )
        self._openai = self._package.AsyncOpenAI(
            base_url=settings.base_url,
            # the package refuses to go without; servers that need no key take any
            api_key=self._key or "none",
            timeout=settings.timeout,
            max_retries=settings.retries,
        )
        self._free = Semaphore(settings.concurrency)
        self._model = model or settings.model

    async def post(
        self, path: str, body: Mapping[str, object], *, tokens: int, retries: int | None = None
    ) -> object:
        """The answer to a request, as JSON has it.

        Args:
            path: Below the base of the endpoint, or a whole URL.
            body: Of the request.
            tokens: How long the prompt is, for errors.
            retries: How often it is sent again; the settings' number if None.

        Returns:
            Objects as mappings, arrays as lists.

        Raises:
            RequestRefused: The endpoint does not take the request.
            ServerError: It can't be reached, or takes no key or model that it was given.
        """
        chosen = self._openai
        if retries is not None:
            chosen = chosen.with_options(max_retries=retries)
        async with self._free:
            try:
                answer = await chosen.post(path, cast_to=object, body=dict(body))
            except self._package.OpenAIError as error:
                # not chained: its request has the key
                raise await self._error(error, tokens) from None
        if not isinstance(answer, Mapping):
            raise RequestRefused(
                f"{self.settings.base_url} answered {self._words(str(answer))!r}, and not with an "
                "object of JSON. teacher.server.url is the base of an API, which mostly ends in "
                "/v1."
            )
        return answer

    async def model(self) -> str:
        """The model's name on the endpoint."""
        if self._model is None:
            names = await self._names()
            if len(names) != 1:
                raise ServerError(
                    f"{self.settings.base_url} has {len(names)} models: {', '.join(names[:20])}. "
                    "Choose one with teacher.server.model=..."
                )
            self._model = names[0]
        return self._model

    async def close(self) -> None:
        """Closes connections."""
        await self._openai.close()

    async def _names(self) -> list[str]:
        try:
            return [model.id for model in (await self._openai.models.list()).data]
        except self._package.OpenAIError as error:
            raise await self._error(error, 0) from None

    async def _error(self, error: Exception, tokens: int) -> ServerError:
        """An error of this project, with the words of the server and what to do."""
        url, settings, package = self.settings.base_url, self.settings, self._package
        tries = f"after {settings.retries + 1} tries"
        if isinstance(error, package.APITimeoutError):
            return ServerError(
                f"{url} gave no answer within {settings.timeout:g} s, {tries}, to a prompt of "
                f"{tokens} tokens. Raise teacher.server.timeout, or lower "
                f"teacher.server.concurrency, which is {settings.concurrency}."
            )
        if isinstance(error, package.APIConnectionError):
            cause = self._words(str(error.__cause__ or error))
            return ServerError(
                f"Can't reach {url}, {tries}: {cause}. Start the server, or correct "
                "teacher.server.url, which is the base of a completions API, as "
                "http://127.0.0.1:8000/v1."
            )
        if not isinstance(error, package.APIStatusError):
            return ServerError(f"{url} could not be asked: {self._words(str(error))}")
        status = error.status_code
        words = self._words(error.message)
        said = f"{url} refused a prompt of {tokens} tokens with status {status}: {words}."
        if status in (401, 403):
            had = "was sent" if self._key else "was not sent, for the variable is not set"
            return ServerError(
                f"{url} refused the key with status {status}: {words}. The key of the environment "
                f"variable {settings.key_variable} {had}. Set it to a key that the server takes, "
                "or name another variable with teacher.server.key_variable."
            )
        if status == 404 and self._model is not None and tokens:
            return RequestRefused(f"{said} {await self._served()}")
        too_much = (
            "Where the prompt is too long, start the server with a context of at least two tokens "
            "more than the longest sequence, or lower budget.teacher_length; where there are too "
            f"many alternatives, lower teacher.server.top={settings.top}, or start the server with "
            "more (vLLM: --max-logprobs)."
        )
        if status in BUSY:
            return ServerError(
                f"{said} It is busy, or not up, {tries}: lower teacher.server.concurrency="
                f"{settings.concurrency}, raise teacher.server.retries, or look into its log."
            )
        if status >= 500:
            return RequestRefused(f"{said} Look into the server's log. {too_much}")
        return RequestRefused(f"{said} {too_much}")

    async def _served(self) -> str:
        """What to do about a path or a model that the endpoint does not have."""
        try:
            names = [model.id for model in (await self._openai.models.list()).data]
        except self._package.OpenAIError:
            return (
                "It lists no models either: teacher.server.url is the base of a completions API, "
                "which mostly ends in /v1."
            )
        if self._model in names:
            return "It has the model: it has no such way to ask for completions."
        return f"Set teacher.server.model to one that it has: {', '.join(names[:20])}."

    def _words(self, text: str) -> str:
        """What a server says, in one line, and without the key should it repeat it."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:WORDS].rstrip(".")
