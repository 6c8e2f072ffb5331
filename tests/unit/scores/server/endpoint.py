"""A small HTTP server that answers as vLLM, SGLang and llama-cpp-python's server do.

Its teacher is a table: what comes after a token depends on that token alone.
"""

import contextlib
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

KEY = "sk-never-to-be-seen"
MODEL = "table"


class Endpoint:
    """The server, in threads of this process; `calls` are the bodies that it was sent."""

    def __init__(self, view, *, dialect="vllm", context=10_000):
        self.view = view
        self.dialect = dialect
        self.context = context
        self.calls, self.keys = [], []
        self.busy = self.most_busy = 0
        self.failures = []  # statuses, or seconds to wait, of the next answers
        self.change = lambda answer: answer
        logits = np.random.default_rng(0).normal(scale=2.0, size=(view.num_tokens,) * 2)
        self.logprobs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint._lock:
                    endpoint.calls.append(body)
                    endpoint.keys.append(self.headers["Authorization"])
                    endpoint.busy += 1
                    endpoint.most_busy = max(endpoint.most_busy, endpoint.busy)
                    failure = endpoint.failures.pop(0) if endpoint.failures else None
                try:
                    status, answer = endpoint.answer(self.path, body, failure)
                finally:
                    with endpoint._lock:
                        endpoint.busy -= 1
                self._send(status, answer)

            def _send(self, status, answer):
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                # given up by the client
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(content)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path, body, failure):
        if isinstance(failure, float):
            time.sleep(failure)
        elif failure:
            said = f"no, not with {KEY}"
            return failure, {"error": {"message": said}}
        if path == "/generate" and self.dialect != "sglang":
            return 404, {"detail": "Not Found"}
        if path != "/generate" and body.get("model") != MODEL:
            return 404, {"error": {"message": f"no model {body['model']}"}}
        prompt = body["input_ids"] if path == "/generate" else body["prompt"]
        if self.dialect == "echo_text":
            if not isinstance(prompt, str):
                return 422, {"detail": "prompt must be a string"}
            prompt = self._cut(prompt)
        if len(prompt) > self.context:
            return 400, {"error": {"message": f"maximum context length is {self.context} tokens"}}
        return 200, self.change(getattr(self, f"_{self.dialect}")(prompt, body))

    def _cut(self, text):
        """Ids of a text in which special tokens are special, as llama.cpp cuts it."""
        return self.view.hf.encode(text, add_special_tokens=False)

    def _tops(self, token, count):
        order = np.argsort(-self.logprobs[token])[:count].tolist()
        return {i: self.logprobs[token, i].item() for i in order}

    def _vllm(self, prompt, body):
        choice = {"index": 0, "text": " x", "logprobs": None}
        if "prompt_logprobs" in body:
            tops = [
                self._tops(before, body["prompt_logprobs"])
                | {token: self.logprobs[before, token].item()}
                for before, token in itertools.pairwise(prompt)
            ]
            choice["prompt_logprobs"] = [
                None,
                *(
                    {str(i): {"logprob": v, "rank": 1, "decoded_token": "?"} for i, v in t.items()}
                    for t in tops
                ),
            ]
        return {"choices": [choice], "usage": {"completion_tokens": 1}}

    def _sglang(self, prompt, body):
        if "input_ids" not in body:
            return {"choices": [{"index": 0, "text": " x", "logprobs": None}]}
        pairs = list(itertools.pairwise(prompt))
        return {
            "text": " x",
            "meta_info": {
                "input_token_logprobs": [
                    [None, prompt[0], None],
                    *([self.logprobs[b, t].item(), t, None] for b, t in pairs),
                ],
                "input_top_logprobs": [
                    None,
                    *(
                        [[v, i, None] for i, v in self._tops(b, body["top_logprobs_num"]).items()]
                        for b, _ in pairs
                    ),
                ],
            },
        }

    def _echo(self, prompt, body):
        if "logprobs" not in body:
            return {"choices": [{"index": 0, "text": " x", "logprobs": None}]}
        return self._completion(prompt, body, lambda token: f"token_id:{token}", skips=False)

    def _echo_text(self, prompt, body):
        return self._completion(prompt, body, self._text, skips=True)

    def _text(self, token):
        return (self.view.token_bytes[token] or b"").decode("utf-8", errors="ignore")

    def _completion(self, prompt, body, name, *, skips):
        generated = int(np.argmax(self.logprobs[prompt[-1]]))
        tokens = [*prompt, generated] if body.get("echo") else [prompt[-1], generated]
        entries = [
            (name(token), self.logprobs[before, token].item(), self._named(before, body, name))
            for before, token in itertools.pairwise(tokens)
        ]
        if body.get("echo"):
            if skips:  # the start token, and what is said of the one after it
                entries[0] = (entries[0][0], None, None)
            else:
                entries.insert(0, (name(prompt[0]), None, None))
        texts, own, tops = zip(*entries, strict=True)
        logprobs = {"tokens": texts, "token_logprobs": own, "top_logprobs": tops}
        return {
            "choices": [{"index": 0, "text": " x", "logprobs": logprobs}],
            "usage": {"completion_tokens": 1},
        }

    def _named(self, before, body, name):
        # as llama-cpp-python does: of tokens with one text, the least likely one stays
        return {name(i): v for i, v in self._tops(before, body["logprobs"]).items()}
