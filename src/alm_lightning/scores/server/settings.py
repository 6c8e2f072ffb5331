"""Which endpoint is asked, and how."""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

DIALECTS = ("auto", "vllm", "sglang", "echo", "echo_text")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ServerError(RuntimeError):
    """An endpoint that can't be reached, refuses, or answers with something else."""


class RequestRefused(ServerError):
    """A request that the endpoint does not take, with its reason."""


class NoPromptLogprobs(ServerError):
    """An answer without the log-probabilities of the prompt."""


@dataclass(frozen=True)
class ServerSettings:
    """Which endpoint is asked, and how.

    The key itself is no setting: it is read from the environment when a request is made, and is in
    no configuration, log, error or checkpoint.

    Attributes:
        url: Base of the endpoint, as ``http://127.0.0.1:8000/v1``; ``/v1`` where there is no path.
        model: Its name on the endpoint; None where the endpoint has just one.
        key_variable: Environment variable with the key; a server without keys needs none.
        concurrency: Requests at a time.
        timeout: Seconds until a request is given up, and sent again.
        retries: How often a request is sent again after a timeout, a lost connection, or one of the
            statuses 408, 409, 429 and 5xx; with growing pauses, or the server's ``Retry-After``.
        top: Alternatives asked for at each position: boundary masses are estimated from them. vLLM
            gives 20 at most unless it was started with more (``--max-logprobs``).
        keep_top: How many of them are returned; 0 for none.
        dialect: How the endpoint returns log-probabilities of a prompt: a name of `DIALECTS`.
            ``auto`` tries them with a short prompt.
    """

    url: str
    model: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 16
    timeout: int | float = 300.0
    retries: int = 5
    top: int = 20
    keep_top: int = 0
    dialect: str = "auto"

    def __post_init__(self) -> None:
        """Refuses settings that no run could use."""
        parts = urlsplit(self.url)
        if parts.username or parts.password or parts.query:
            # not shown: it may be a key
            raise ValueError(
                "teacher.server.url has a user, a password or a query, which would end up in logs. "
                f"Leave it out, and put the key into the environment variable {self.key_variable}."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"teacher.server.url must be the base of an endpoint, as http://127.0.0.1:8000/v1; "
                f"got {self.url!r}."
            )
        if self.dialect not in DIALECTS:
            raise ValueError(
                f"teacher.server.dialect must be one of {', '.join(DIALECTS)}; got "
                f"{self.dialect!r}."
            )
        for name, least in (("concurrency", 1), ("top", 1), ("retries", 0), ("keep_top", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"teacher.server.{name} must be {least} or more; got {getattr(self, name)}."
                )
        if self.timeout <= 0:
            raise ValueError(
                f"teacher.server.timeout is in seconds, and above 0; got {self.timeout}."
            )
        if self.keep_top > self.top:
            raise ValueError(
                f"teacher.server.keep_top={self.keep_top} alternatives can't be kept of the "
                f"{self.top} that are asked for. Raise teacher.server.top to it."
            )

    @property
    def base_url(self) -> str:
        """The base of the completions API, without a slash at its end."""
        url = self.url.rstrip("/")
        return url if urlsplit(url).path else f"{url}/v1"

    @property
    def root_url(self) -> str:
        """Scheme, host and port alone: where SGLang has its own endpoint."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def sends_key_in_clear(self) -> bool:
        """Whether a key would travel over a network without encryption."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in LOOPBACK and bool(self.key())

    def key(self) -> str | None:
        """The key, or None where the variable is not set."""
        return os.environ.get(self.key_variable) or None
