r"""What a draft gains in llama.cpp: a llama-server without a draft, and one for each way to draft.

    python benchmarks/llama_server.py qwen.gguf --drafts trained.gguf untrained.gguf \
        --questions gsm8k_test.jsonl [--limit 12] [--max-new-tokens 64] [--draft-tokens 5]

Each question goes to one server after another, greedily and without a cached prompt. All servers
are up at once, so they share what else the machine does. Seconds are those that llama-server
reports for the answer, without the prompt. `accepted`, `accepted_length` and `speed_up` are the
figures of `harness=draft`; an answer is `equal` if it is that of the server without a draft.

llama-server is looked for on PATH; --server names another command. Drafts are of `--spec-type
draft-simple`, which llama.cpp 0.7.0 has. --lookup adds prompt look-up (`ngram-simple`).
"""

import argparse
import contextlib
import itertools
import json
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from alm_lightning.evaluation.drafts.figures import draft_figures
from alm_lightning.evaluation.harness import Record
from alm_lightning.show.numbers import estimate

START_SECONDS = 180
ANSWER_SECONDS = 600
CONTEXT = 4096


def main() -> None:
    """Prints figures of every way to draft."""
    arguments = _parser().parse_args()
    missing = [str(file) for file in (arguments.target, *arguments.drafts) if not file.is_file()]
    if missing:
        sys.exit(f"No such file: {', '.join(missing)}. Expected GGUF files (alm-gguf makes them).")
    if not arguments.drafts and not arguments.lookup:
        sys.exit("Nothing to measure: pass --drafts FILE ... or --lookup.")
    questions = read_questions(arguments.questions, arguments.limit)
    ways = spec_options(arguments)
    with contextlib.ExitStack() as stack:
        clients = {
            way: stack.enter_context(serving(arguments, options)) for way, options in ways.items()
        }
        records: list[Record] = []
        for number, question in enumerate(questions, 1):
            records.append(record(clients, question, arguments.max_new_tokens))
            print(f"{number} of {len(questions)} questions", file=sys.stderr, flush=True)
    print(table(records))


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


def read_questions(file: Path, limit: int) -> list[str]:
    """The first questions of a file of JSON lines."""
    if not file.is_file():
        sys.exit(f"--questions {file}: no such file. Expected JSON lines with `question`.")
    with file.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in itertools.islice(lines, limit)]
    if not records or any("question" not in each for each in records):
        sys.exit(f"--questions {file}: expected a record with `question` on each line.")
    return [each["question"] for each in records]


def spec_options(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Options of llama-server for each way; `alone` has none."""
    longest = str(arguments.draft_tokens)
    ways: dict[str, list[str]] = {"alone": []}
    for file in arguments.drafts:
        options = ["--spec-type", "draft-simple", "-md", str(file), "-td", str(arguments.threads)]
        ways[file.stem] = [*options, "--spec-draft-n-max", longest]
    if arguments.lookup:
        ways["prompt_lookup"] = ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", "2"]
        ways["prompt_lookup"] += ["--spec-ngram-simple-size-m", longest]
    return ways


@contextlib.contextmanager
def serving(arguments: argparse.Namespace, options: list[str]) -> Iterator[httpx.Client]:
    """A client of a llama-server that has loaded its models; it ends with the block."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*shlex.split(arguments.server), "-m", str(arguments.target), *options]
    command += ["--host", "127.0.0.1", "--port", str(port), "-c", str(CONTEXT), "--parallel", "1"]
    # a server that waits for its turn must leave the processor alone
    command += ["--threads", str(arguments.threads), "--poll", "0"]
    with tempfile.TemporaryFile() as log:
        try:
            server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        except FileNotFoundError:
            sys.exit(
                f"--server {arguments.server}: no such program. Install llama.cpp, or name it."
            )
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_SECONDS
            ) as client:
                if not _is_up(server, client):
                    log.seek(0)
                    output = log.read().decode(errors="replace")
                    sys.exit(f"{shlex.join(command)}\ndid not start:\n{output[-2000:]}")
                yield client
        finally:
            server.terminate()
            server.wait()


def _is_up(server: subprocess.Popen[bytes], client: httpx.Client) -> bool:
    """Waits until the models are loaded; False if the server ends before, or takes too long."""
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health").is_success:
                return True
        time.sleep(0.2)
    return False


def record(clients: dict[str, httpx.Client], question: str, max_new_tokens: int) -> Record:
    """What each server wrote to one question: a record as `harness=draft` has them."""
    answers = {way: answer(client, question, max_new_tokens) for way, client in clients.items()}
    alone = answers.pop("alone")
    for each in answers.values():
        each["equal"] = each["text"] == alone["text"]
        # each forward pass of the target gives one token beside the accepted ones
        each["forwards"] = each["tokens"] - each["accepted"]
    return {"tokens": alone["tokens"], "seconds": alone["seconds"], "ways": answers}


def answer(client: httpx.Client, question: str, max_new_tokens: int) -> dict[str, Any]:
    """The greedy answer of one server, with its own timings."""
    body = {
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": max_new_tokens,
        "cache_prompt": False,
    }
    reply = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    timings = reply["timings"]
    return {
        "text": reply["choices"][0]["message"]["content"],
        "tokens": timings["predicted_n"],
        "seconds": timings["predicted_ms"] / 1000,
        "drafted": timings.get("draft_n", 0),
        "accepted": timings.get("draft_n_accepted", 0),
    }


def table(records: list[Record]) -> str:
    """A row a way to draft."""
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


if __name__ == "__main__":
    main()
