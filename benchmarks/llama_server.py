r"""What a draft gains in llama.cpp: a llama-server without a draft, and one for each way to draft.

    python benchmarks/llama_server.py qwen.gguf --drafts trained.gguf untrained.gguf \
        --questions gsm8k_test.jsonl [--limit 12] [--max-new-tokens 64] [--draft-tokens 5]

Each question goes to one server after another, greedily and without a cached prompt. All servers
are up at once, so that other work of the machine slows them alike. Tokens and seconds are those
that llama-server reports, less the prompt and the token that its forward pass gives. `accepted`,
`accepted_length` and `speed_up` are the figures of `harness=draft`; an answer is `equal` if it is
the text of the server without a draft.

llama-server is looked for on PATH; --server names another command. Drafts are of `--spec-type
draft-simple`, which llama.cpp 0.7.0 has. --lookup adds prompt look-up (`ngram-simple`).
"""

import argparse
import contextlib
import itertools
import json
import math
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, NoReturn

import httpx

from alm_lightning.evaluation.drafts.figures import draft_figures
from alm_lightning.evaluation.harness import Record
from alm_lightning.show.numbers import estimate

START_SECONDS = 180
END_SECONDS = 30
ANSWER_SECONDS = 600
CONTEXT = 4096
ALONE, LOOKUP = "alone", "prompt look-up"


class Server:
    """A llama-server, from its start to `close`."""

    def __init__(self, command: list[str], log: IO[bytes]):
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._command = [*command, "--host", "127.0.0.1", "--port", str(port)]
        self._log = log
        try:
            self._process = subprocess.Popen(
                self._command, stdout=self._log, stderr=subprocess.STDOUT
            )
        except OSError as error:
            sys.exit(
                f"--server {command[0]}: {error}. Install llama.cpp, or name its llama-server."
            )
        # a proxy of the environment knows nothing of this machine's own addresses
        # and a connection that idles while others answer may be closed at any time
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, limits=limits
        )

    def wait(self) -> None:
        """Waits until the models are loaded; ends the program if they can't be."""
        end = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if self._client.get("/health", timeout=5).is_success:
                    return
            time.sleep(0.2)
        self._fail("did not start")

    def answer(self, question: str, max_new_tokens: int) -> dict[str, Any]:
        """The greedy answer to a question, with the server's own timings."""
        body = {
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": max_new_tokens,
            "cache_prompt": False,
        }
        try:
            reply = self._client.post("/v1/chat/completions", json=body, timeout=ANSWER_SECONDS)
        except httpx.TransportError as error:
            self._fail(f"gave no answer ({error!r})")
        if not reply.is_success:
            self._fail(f"answered {reply.status_code}: {reply.text[:500]}")
        found = reply.json()
        timings = found["timings"]
        message = found["choices"][0]["message"]
        return {
            # llama-server takes the thoughts of a model out of its text
            "text": [message.get("reasoning_content"), message["content"]],
            # the first one comes from the pass over the prompt, whose time is not counted
            "tokens": timings["predicted_n"] - 1,
            "seconds": timings["predicted_ms"] / 1000,
            "drafted": timings.get("draft_n", 0),
            "accepted": timings.get("draft_n_accepted", 0),
        }

    def close(self) -> None:
        """Ends the server."""
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _fail(self, what: str) -> NoReturn:
        self._log.seek(0)
        output = self._log.read().decode(errors="replace")
        sys.exit(f"{shlex.join(self._command)}\n{what}. The end of its output:\n{output[-2000:]}")


def commands(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The command of llama-server for each way, without its address."""
    shared = [*shlex.split(arguments.server), "-m", str(arguments.target), "--parallel", "1"]
    shared += ["-c", str(CONTEXT), "--threads", str(arguments.threads)]
    # a server that waits for its turn must leave the processor alone
    shared += ["--poll", "0"]
    longest = str(arguments.draft_tokens)
    ways = {ALONE: shared}
    for file in arguments.drafts:
        options = ["--spec-type", "draft-simple", "-md", str(file), "-td", str(arguments.threads)]
        ways[str(file)] = [*shared, *options, "--spec-draft-n-max", longest]
    if arguments.lookup:
        options = ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", "2"]
        ways[LOOKUP] = [*shared, *options, "--spec-ngram-simple-size-m", longest]
    return ways


def record(
    servers: dict[str, Server], question: str, *, max_new_tokens: int, draft_tokens: int
) -> Record:
    """What each server wrote to one question: a record as `harness=draft` has them."""
    answers = {way: each.answer(question, max_new_tokens) for way, each in servers.items()}
    alone = answers.pop(ALONE)
    for each in answers.values():
        each["equal"] = each["text"] == alone["text"]
        # each forward pass gives one token beside the accepted ones. The server also counts what it
        # accepted beyond the end of an answer
        fewest = math.ceil(each["tokens"] / (draft_tokens + 1))
        each["forwards"] = max(fewest, each["tokens"] - each["accepted"])
        each["accepted"] = min(each["accepted"], each["tokens"] - each["forwards"])
    return {"tokens": alone["tokens"], "seconds": alone["seconds"], "ways": answers}


def table(records: list[Record]) -> str:
    """One row for each way to draft."""
    names = ("accepted", "accepted_length", "speed_up", "equal")
    lines = [f"| draft | {' | '.join(names)} |", "|---|---|---|---|---|"]
    figures = draft_figures(records)
    for way in records[0]["ways"]:
        # a way that drafts nothing has no share of accepted tokens
        own = [figures.get(f"{name}_{way}") for name in names]
        cells = ["–" if figure is None else estimate(figure, space=" ") for figure in own]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    alone = estimate(figures["tokens_per_second_alone"], space=" ")
    return "\n".join([*lines, "", f"Without a draft {alone} tokens/s, {len(records)} questions."])


def read_questions(file: Path, limit: int) -> list[str]:
    """The first questions of a file of JSON lines."""
    try:
        with file.open(encoding="utf-8") as lines:
            filled = (line for line in lines if line.strip())
            return [json.loads(line)["question"] for line in itertools.islice(filled, limit)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"--questions {file}: {error!r}. Expected JSON lines with `question`.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, help="GGUF file of the target")
    parser.add_argument("--drafts", type=Path, nargs="+", default=[], help="GGUF files of drafts")
    parser.add_argument("--lookup", action="store_true", help="measure prompt look-up too")
    parser.add_argument("--questions", type=Path, required=True, help="JSON lines with `question`")
    parser.add_argument("--limit", type=int, default=12, help="so many of them, the first ones")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--draft-tokens", type=int, default=5, help="in a draft, at most")
    parser.add_argument("--threads", type=int, default=2, help="of each server")
    parser.add_argument("--server", default="llama-server", help="command, with its arguments")
    return parser


def main() -> None:
    """Prints figures of every way to draft."""
    arguments = _parser().parse_args()
    missing = [str(file) for file in (arguments.target, *arguments.drafts) if not file.is_file()]
    if missing:
        sys.exit(f"No such file: {', '.join(missing)}. Expected GGUF files (alm-gguf makes them).")
    if not arguments.drafts and not arguments.lookup:
        sys.exit("Nothing to measure: pass --drafts FILE ... or --lookup.")
    least = {"limit": 1, "max_new_tokens": 2, "draft_tokens": 1, "threads": 1}
    for name, value in least.items():
        if getattr(arguments, name) < value:
            _parser().error(f"--{name.replace('_', '-')}: expected at least {value}")
    questions = read_questions(arguments.questions, arguments.limit)
    if not questions:
        sys.exit(f"--questions {arguments.questions}: no question. Expected JSON lines with one.")
    # servers end with this program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    records: list[Record] = []
    with contextlib.ExitStack() as stack:
        servers = {}
        for way, command in commands(arguments).items():
            log = stack.enter_context(tempfile.TemporaryFile())
            servers[way] = stack.enter_context(contextlib.closing(Server(command, log)))
        for server in servers.values():
            server.wait()
        for number, question in enumerate(questions, 1):
            found = record(
                servers,
                question,
                max_new_tokens=arguments.max_new_tokens,
                draft_tokens=arguments.draft_tokens,
            )
            if all(each["tokens"] for each in (found, *found["ways"].values())):
                records.append(found)
            else:
                print(f"left out, an answer of one token: {question}", file=sys.stderr)
            print(f"{number} of {len(questions)} questions", file=sys.stderr, flush=True)
    if not records:
        sys.exit("No question had an answer of more than one token.")
    print(table(records))


if __name__ == "__main__":
    main()
