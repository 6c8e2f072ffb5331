"""Every benchmark runs, on tiny models and in small: as a process of its own, as it is called."""

import gzip
import json
import os
import re
import subprocess
import sys
import time

import pytest
from tests.conftest import tiny_gemma3
from tests.runs import REPOSITORY

from alm_lightning.likelihood.hardware import multiplies_bfloat16

pytestmark = pytest.mark.slow

BENCHMARKS = REPOSITORY / "benchmarks"
LOWEST, HIGHEST = 0.001, 1000
"""Between these a ratio of two things that take about as long must lie."""


@pytest.fixture
def ran(tmp_path):
    """What a benchmark prints."""

    def run(name, *arguments):
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory, byte_level_tokenizer):
    """A tiny model with another tokenizer than that of `model_folder`."""
    folder = tmp_path_factory.mktemp("models") / "other-gemma"
    tiny_gemma3(len(byte_level_tokenizer)).save_pretrained(folder)
    byte_level_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def transfer(tiny, other_folder):
    """Overrides of a tiny student that gets another tokenizer: what two benchmarks begin with."""
    # not every objective has this term
    kept = [override for override in tiny if not override.startswith("objective.")]
    return [*kept, "tokenizer=folder", f"tokenizer.source.path={other_folder}"]


def figures(output, unit=""):
    """Figures by the label before them, of lines such as ``step    0.123 s``."""
    lines = re.findall(rf"^ *(\S.*?):? +([\d.,]+){re.escape(unit)}$", output, re.MULTILINE)
    return {label: float(value.replace(",", "")) for label, value in lines}


def table(output):
    """Cells of a Markdown table's rows, by the first one."""
    rows = [
        [cell.strip(" `") for cell in line[1:-1].split("|")]
        for line in output.splitlines()
        if line.startswith("| ")
    ]
    return {first: rest for first, *rest in rows}


def numbers(cells):
    return [float(cell.replace(",", "")) for cell in cells]


def test_every_benchmark_is_here():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    others = {
        "every_benchmark_is_here",
        "llama_server_that_ends",
        "llama_server_that_is_stopped",
        "gpu_goes_on_after_an_error",
        "profile_of_a_step",
        "gpu_expects_what_the_page_says",
        "linear_log_likelihood_against_chunks",
        "linear_log_likelihood_expected",
    }
    assert tested == {file.stem for file in BENCHMARKS.glob("*.py")} | others


@pytest.mark.parametrize(
    ("precision", "overrides"),
    [
        ("bf16-mixed", ["trainer.precision=bf16-mixed"]),
        ("32-true", ["trainer.precision=32-true", "student.dtype=float32"]),
        ("bf16-mixed" if multiplies_bfloat16("cpu") else "32-true", []),
    ],
    ids=["bfloat16", "float32", "auto"],
)
def test_step(ran, tiny, precision, overrides):
    output = ran("step", *tiny, *overrides)
    assert re.search(rf"^precision +{precision}$", output, re.MULTILINE)
    seconds = figures(output, " s")
    assert set(seconds) == {"teacher forward", "student forward, backward", "step"}
    # the tiny models' own parts may be over within a millisecond
    assert 0 < seconds["step"] < 60
    assert LOWEST < figures(output)["bare parts / step"] < HIGHEST


def test_profile_of_a_step(ran, tiny):
    output = ran("step", "--profile", *tiny)
    lines = [line for line in output.splitlines() if " s " in line and line.endswith("%")]
    shares = [float(line.split()[-1].rstrip("%")) for line in lines]
    # matrix products and the rest, then operations from the longest on
    assert shares[0] + shares[1] == pytest.approx(100, abs=0.2)
    assert shares[2:] == sorted(shares[2:], reverse=True)
    assert any("aten::" in line for line in lines[2:])


def test_memory(ran, transfer):
    rows = table(ran("memory", *transfer))
    del rows[""]
    assert list(rows) == ["LoRA, one body", "LoRA, two bodies", "full fine-tuning, two bodies"]
    for cells in rows.values():
        trained, held, peak, *_, seconds = numbers(cells)
        assert trained > 1000
        assert 10 < held <= peak < 10_000
        assert 0 < seconds < 60


def test_objectives(ran, transfer):
    output = ran("objectives", *transfer, "budget.teacher_length=96", "--only", "alm")
    rows = table(output)
    assert list(rows) == ["objective", "next_token", "alm"]
    assert numbers(rows["next_token"][:2]) == [1, 1]
    for name in ("next_token", "alm"):
        relative, _, seconds, peak = numbers(rows[name])
        assert LOWEST < relative < HIGHEST
        assert seconds > 0
        assert peak > 10


def test_own_answers(ran, tiny):
    output = ran(
        *("own_answers", *tiny, "budget.steps=2"),
        *("on_policy.max_new_tokens=8", "on_policy.batch_size=3", "on_policy.prompt_bytes=16"),
    )
    rows = table(output)
    del rows[""]
    assert list(rows) == ["engine", "bare model"]
    assert min(min(numbers(cells)) for cells in rows.values()) > 0
    assert LOWEST < figures(output)["engine / bare model"] < HIGHEST


def test_scores(ran, tiny):
    kept = [override for override in tiny if not override.startswith("objective")]
    lines = ran("scores", *kept, "budget.steps=4", "windows.cut_bytes=60").splitlines()
    sizes = {line[:34].strip(): line[34:].split() for line in lines}
    per_token = {name: float(sizes[name][1]) for name in ("alm", "next_byte", "top_k, 64")}
    # two float32 and an id are 12 bytes, 64 likeliest tokens 512 more
    assert 12 < per_token["alm"] < per_token["next_byte"]
    assert per_token["top_k, 64"] > per_token["alm"] + 500
    multiples = {name: float(cells[-1]) for name, cells in sizes.items() if "teacher" in name}
    assert {"alm_next_token, teacher", "next_byte, teacher"} == {*multiples}
    assert float(sizes["alm_next_token, store"][-1]) > LOWEST


def test_objectives_on_gpu(ran, run_here, tmp_path, texts, monkeypatch):
    lines = [json.dumps({"text": text}) for text in texts["corpus_other"].read_text().split("\n\n")]
    (tmp_path / "other.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    arguments = ("--text", texts["corpus"], "--other", "other.jsonl.gz", "--other-last", 0.5)
    arguments += (
        "--objectives",
        "next_token,alm_next_token",
        "--side-by-side",
        2,
        "--seeds",
        "0,1",
    )
    output = ran(
        "objectives_on_gpu", "--quick", *arguments, "--json", "found.jsonl", "--", "seed=7"
    )
    rows = table(output)
    assert list(rows) == ["objective", "teacher", "before", "next_token", "alm_next_token"]
    assert numbers(rows["teacher"][2:4]) == [0, 0]
    for name in ("next_token", "alm_next_token"):
        *figures_of, steps, seeds = (cell.partition(" ")[0] for cell in rows[name])
        assert min(numbers(figures_of)) > 0
        assert (steps, seeds) == ("3", "2")
    record = json.loads((tmp_path / "found.jsonl").read_text("utf-8"))
    assert [(run["objective"], run["seed"]) for run in record["runs"]] == [
        *(("next_token", "0"), ("alm_next_token", "0")),
        *(("next_token", "1"), ("alm_next_token", "1")),
    ]
    assert {run["summary"]["chunks"]["count"] > 0 for run in record["runs"]} == {True}
    # a run whose time is over ends with the step that it is in, and is measured
    monkeypatch.syspath_prepend(BENCHMARKS)
    summary = run_here("+callbacks.stop_at={_target_:on_gpu.runs.StopAt,time:0}")
    assert summary["steps"] == 1
    assert summary["bits_per_byte"]["student_after"] > 0


RECIPES = ["bytes", "subword", "maths"]


def gpu_lines(output):
    """Figures of `gpu.py` by part and line; an error stays text."""
    rows = [line[2:-2].split(" | ") for line in output.splitlines() if line.startswith("| ")]
    assert rows[0] == ["part", "what", "measured"]
    return {(part, what): figure for part, what, figure in rows[1:]}


def test_gpu(ran, tmp_path):
    lines = gpu_lines(ran("gpu", "--quick", "--json", "found.json"))
    assert not [figure for figure in lines.values() if "ERROR" in figure]
    both = ("ours", "chunked")
    for what in ("bf16, forward", "bf16, forward + backward", "float32, forward + backward"):
        times = [float(lines["loss", f"{what}, {name} (ms)"]) for name in both]
        assert LOWEST < times[0] / times[1] < HIGHEST
        assert min(float(lines["loss", f"{what}, {name} (extra MiB)"]) for name in both) > 0
    objectives = {file.stem for file in (REPOSITORY / "conf/objective").glob("*.yaml")}
    # what is sampled is not the same twice
    objectives.remove("policy_gradient")
    compared = {what.partition(":")[0]: v for (part, what), v in lines.items() if part == "losses"}
    assert set(compared) == {*objectives, "speed of the card's default"}
    assert max(map(float, compared.values())) < 1e-3
    assert float(lines["resume", "weights off, as a share of their way"]) < 1e-6
    for recipe in RECIPES:
        assert 0 < float(lines[recipe, "a step (s)"]) < 100
        assert float(lines[recipe, "student's tokens a second"].replace(",", "")) > 1
        assert 0 < float(lines[recipe, "share of the matrix-product rate"]) < 1
        assert 0.1 < float(lines[recipe, "peak memory (GiB)"]) < 10
        assert 0 <= float(lines[recipe, "waiting for data (share)"]) < 1
    kernels = {what: float(v) for (part, what), v in lines.items() if part == "profile"}
    (busy, *shares) = kernels.values()
    assert len(shares) == 15
    assert 0 < busy < 1.5
    assert shares == sorted(shares, reverse=True)
    record = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert len(record["rows"]) == len(lines)


def test_gpu_goes_on_after_an_error(tmp_path):
    arguments = ["--quick", "--only", "subword,maths", "--", "subword:budget.micro_batch_size=0"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    lines = gpu_lines(done.stdout)
    (error,) = (v for (part, _), v in lines.items() if part == "subword")
    assert "micro_batch_size is 0" in error
    assert float(lines["maths", "a step (s)"]) > 0


def test_gpu_expects_what_the_page_says(ran):

    def lines_of(text, place):
        rows = [[cell.strip() for cell in line.split("|")[1:]] for line in text.splitlines()]
        return {tuple(row[:2]): row[place] for row in rows if row and row[0] in RECIPES}

    expected = lines_of(ran("gpu", "--expect"), 3)
    said = lines_of((REPOSITORY / "docs/results/gpu.md").read_text("utf-8"), 2)
    assert set(said) == set(expected)
    for line, figure in said.items():
        assert numbers([figure]) == pytest.approx(numbers([expected[line]]), rel=0.05), line


def test_recipe_memory(ran):
    output = ran("recipe_memory", "--only", "subword", "--sequences", 8)
    rows = table(output)
    assert "8 x 512 tokens a micro-batch" in output
    totals = numbers(rows["total"])
    # trainer=gpu, 8-bit states, no checkpointing, eager and no checkpointing
    assert totals[1] < totals[0] < totals[2] < totals[3]
    (one,) = (cells for name, cells in rows.items() if name.endswith("one card"))
    assert [cell.partition(" ")[0] for cell in one] == ["yes"] * 4


def test_alignment(ran, model_folder, texts):
    output = ran(
        "alignment", "--student", "bytes", "--teacher", model_folder, "--text", texts["corpus"]
    )
    speeds = figures(output, " million tokens/s")
    assert len(speeds) == 3
    assert min(speeds.values()) > 0
    assert LOWEST < figures(output)["text to tensors / tokenising"] < HIGHEST
    # chunk ids of both sides alone are more than a byte
    assert 1 < figures(output, " bytes per token")["memory of a batch's alignment"] < 100
    rows = table(output)
    assert list(rows) == ["tokens a side", "512", "2,048", "8,192", "32,768"]
    assert min(min(numbers(cells)) for name, cells in rows.items() if name != "tokens a side") > 0


def test_blimp(ran, model_folder, tmp_path):
    pairs = [
        {"UID": name, "sentence_good": f"The fox {n} is quick.", "sentence_bad": f"Fox the {n} is."}
        for name in ("first", "second")
        for n in range(4)
    ]
    data = tmp_path / "blimp.jsonl.gz"
    data.write_bytes(gzip.compress("\n".join(map(json.dumps, pairs)).encode()))
    output = ran("blimp", "--data", data, "--pairs", 3, "--json", "found.jsonl", model_folder)
    accuracy, error, count = re.match(r"([\d.]+) \+- ([\d.]+)  (\d+) pairs", output).groups()
    assert 0 <= float(accuracy) <= 1
    assert 0 <= float(error) <= 0.5
    assert int(count) == 6
    (line,) = (tmp_path / "found.jsonl").read_text("utf-8").splitlines()
    record = json.loads(line)
    assert round(record["accuracy"], 4) == float(accuracy)
    assert set(record["by_phenomenon"]) == {"first", "second"}


def test_seeds(ran, run_here, tmp_path):
    runs = [tmp_path / f"run_{seed}" for seed in range(2)]
    summaries = [
        run_here(f"seed={seed}", "budget.steps=1", f"paths.output_dir={run}")
        for seed, run in enumerate(runs)
    ]
    names = ["teacher", "before", *(summary["model_path"] for summary in summaries)]
    scored = [
        {"model": name, "accuracy": share}
        for name, share in zip(names, (0.8, 0.5, 0.6, 0.7), strict=True)
    ]
    (tmp_path / "blimp.jsonl").write_text("\n".join(map(json.dumps, scored)), "utf-8")
    arguments = ("--blimp", "blimp.jsonl", "--teacher", "teacher", "--before", "before")
    output = ran("seeds", *arguments, *runs)
    figures_of, shares = (table(part) for part in output.strip().split("\n\n"))
    assert list(figures_of) == ["", "before", "teacher", "all alike (2 seeds)"]
    after = dict(zip(figures_of[""], figures_of["all alike (2 seeds)"], strict=True))
    bits = [summary["bits_per_byte"]["student_after"] for summary in summaries]
    assert after["bits per byte, training domain"].startswith(f"{sum(bits) / 2:.3f} ± ")
    assert after["BLiMP"] == "0.650 ± 0.050"
    # (0.1 + 0.2) / 2 of the 0.3 between teacher and student before
    assert shares["all alike"][-1].startswith("0.500 ± ")


def test_small_pair(ran, tmp_path, texts):
    documents = texts["corpus"].read_text("utf-8").split("\n\n")
    lines = [json.dumps({"text": document}) for document in documents]
    (tmp_path / "prose.jsonl").write_text("\n".join(lines), "utf-8")
    output = ran("small_pair", "--text", "prose.jsonl", "--out", "made", "--steps", 1)
    (loss, heldout) = map(
        float, re.search(r"step 1: ([\d.]+) nats, held out ([\d.]+),", output).groups()
    )
    # a guess among 4,096 tokens takes 8.3 nats
    assert 7 < loss < 10
    assert 7 < heldout < 10
    assert re.search(r"^4,262,144 weights, in made$", output, re.MULTILINE)
    for name in ("teacher/model.safetensors", "teacher/tokenizer.json", "bpe_8k/tokenizer.json"):
        assert (tmp_path / "made" / name).is_file()


def test_next_byte_end(ran, model_folder, texts, tmp_path):
    documents = texts["corpus"].read_text("utf-8").split("\n\n")
    lines = "\n".join(json.dumps({"text": document}) for document in documents)
    (tmp_path / "prose.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    arguments = ("--text", "prose.jsonl.gz", "--windows", 3, "--counted-windows", 6)
    arguments += ("--window-bytes", 64, "--dtype", "float32")
    output = ran("next_byte_end", "--model", model_folder, *arguments)
    computed, difference = re.search(r"(\d+) of these were computed; (\S+) from", output).groups()
    assert int(computed) > 10
    # alternatives side by side, each of which sees its own past alone, are as passes of their own
    assert float(difference) < 1e-5
    losses, variations, shrinkages, thresholds, ends = output.strip().split("\n\n")[1:]
    rows = {name: numbers(cells) for name, cells in table(losses).items() if name != "KL"}
    places = rows["places"][0]
    assert 10 < int(computed) <= places
    # a tiny model that was not trained says about the same after any token
    assert 0 <= max(rows["global"]) < 0.1 < rows["drop"][0]
    assert 0 <= rows["learned"][0] < 0.1
    assert 0 < rows["lost by boundary's merging"][0] < rows["boundary, its classes"][0]
    # cont and e N make up the exact distribution: the share of N is what cont lacks
    assert numbers(table(variations)["drop"][:1])[0] <= rows["mean e"][0] + 1e-4
    by_shrink = dict(zip(*(cells for cells in table(shrinkages).values()), strict=True))
    assert numbers([by_shrink["3 tokens"]]) == rows["counted"][:1]
    left = [numbers(cells)[3] for name, cells in table(thresholds).items() if name[0] == "0"]
    # the less is exact, the more is left
    assert left == sorted(left)
    assert left[-1] <= rows["drop"][0]
    assert figures(ends)["KL(cont + e N || N) at ends"] > 0


def test_embeddings(ran, model_folder, other_folder):
    arguments = ("--student", model_folder, "--teacher", other_folder)
    output = ran("embeddings", *arguments, "--k", 2, "--sample", 8)
    first, second = output.strip().split("\n\n")
    assert first.startswith("tiny-gemma -> tokenizer of other-gemma\n")
    assert second.startswith("other-gemma -> tokenizer of tiny-gemma\n")
    for part in (first, second):
        shared, of = re.search(r"old vocabulary: (\d+) of (\d+) ", part).groups()
        # bytes at the least
        assert 100 < int(shared) <= int(of)
        for way in ("fvt", "mean", "keep"):
            assert re.search(rf"^  {way}: [\d.]+ s, processor [\d.]+ s$", part, re.MULTILINE)
        # what is left of a row of length 1, of which two others were taken off
        assert 0 < figures(part)["left of a donor's row, median"] < 1


def test_ensemble_speed(ran, model_folder):
    output = ran("ensemble_speed", model_folder, model_folder, "--tokens", 4, "--rounds", 2)
    speeds = figures(output, " tokens/s")
    assert list(speeds) == ["member 0", "member 1", "sum of the members", "ensemble"]
    assert speeds["sum of the members"] < speeds["member 0"]
    assert LOWEST < figures(output)["ensemble / sum"] < HIGHEST


LLAMA_SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

print("started", file=open(str(os.getpid()) + ".pid", "w"))
options = sys.argv[1:]
assert options[options.index("-m") + 1].endswith("target.gguf")
drafts = "--spec-type" in options
timings = {"predicted_n": 9, "predicted_ms": 1000 if drafts else 2000}
if "draft-simple" in options:
    assert options[options.index("--spec-draft-n-max") + 1] == "3"
    timings |= {"draft_n": 10, "draft_n_accepted": 4}
elif drafts:
    assert "ngram-simple" in options
    assert options[options.index("--spec-ngram-simple-size-m") + 1] == "3"

class Handler(BaseHTTPRequestHandler):
    def answer(self, found):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def do_GET(self):
        self.answer({"status": "ok"})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["temperature"] == 0 and asked["max_tokens"] == 9
        text = asked["messages"][0]["content"] + (" again" if "-md" in options else "")
        self.answer({"choices": [{"message": {"content": text}}], "timings": timings})

HTTPServer(("127.0.0.1", int(options[options.index("--port") + 1])), Handler).serve_forever()
"""


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def served(tmp_path):
    """Arguments of `llama_server`, with a program that answers as llama-server does."""
    program, questions = tmp_path / "server.py", tmp_path / "questions.jsonl"
    program.write_text(LLAMA_SERVER)
    questions.write_text("".join(json.dumps({"question": str(n)}) + "\n" for n in range(3)))
    for name in ("target", "small"):
        (tmp_path / f"{name}.gguf").touch()
    arguments = ["target.gguf", "--drafts", "small.gguf", "--lookup", "--questions", questions]
    return [*arguments, "--limit", 2, "--max-new-tokens", 9, "--draft-tokens", 3], program


def test_llama_server(ran, served):
    arguments, program = served
    output = ran("llama_server", *arguments, "--server", f"{sys.executable} {program}")
    rows = {name: [cell.split(" ")[0] for cell in cells] for name, cells in table(output).items()}
    assert rows["draft"] == ["accepted", "accepted_length", "speed_up", "equal"]
    # 4 of 10 drafted tokens; after the first one 8 in 4 passes; half the time; another text
    assert rows["small.gguf"] == ["0.400", "2.000", "2.000", "0.000"]
    assert rows["prompt look-up"] == ["–", "1.000", "2.000", "1.000"]
    assert "Without a draft 4.000 ± 0.000 tokens/s, 2 questions." in output
    processes = [int(file.stem) for file in program.parent.glob("*.pid")]
    assert len(processes) == 3
    assert not any(is_running(process) for process in processes)


def test_llama_server_that_is_stopped(served, tmp_path):
    """It takes its servers with it."""
    arguments, program = served
    command = [sys.executable, str(BENCHMARKS / "llama_server.py"), *map(str, arguments)]
    # a server that never says that it is up
    program.write_text(LLAMA_SERVER.replace("self.send_response(200)", "self.send_response(503)"))
    server = f"{sys.executable} {program}"
    with subprocess.Popen([*command, "--server", server], cwd=tmp_path) as benchmark:
        end = time.monotonic() + 60
        while len(found := list(tmp_path.glob("*.pid"))) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        benchmark.terminate()
        assert benchmark.wait(60) == 1
    assert len(found) == 3
    assert not any(is_running(int(file.stem)) for file in found)


def test_llama_server_that_ends(served, tmp_path):
    arguments, _ = served
    failing = f"{sys.executable} -c 'raise SystemExit(\"no such model\")'"
    command = [sys.executable, str(BENCHMARKS / "llama_server.py"), *map(str, arguments)]
    done = subprocess.run(
        [*command, "--server", failing],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "did not start. The end of its output:\nno such model" in done.stderr


def test_linear_log_likelihood(ran):
    output = ran("linear_log_likelihood", "--rows", 16, "--tokens", 64, "--hidden", 8)
    rows = {name: numbers(cells) for name, *cells in map(str.split, output.splitlines()[2:])}
    assert rows["total_s"][0] > 0
    assert rows["total_s"][1] > 0
    for name in ("mean_target", "mean_boundary", "grad_hidden_norm", "grad_weight_norm"):
        assert rows[name][2] == pytest.approx(1, abs=1e-3)
    output = ran(
        *("linear_log_likelihood", "--rows", 16, "--tokens", 64, "--hidden", 8),
        *("--terms", 2, "--frozen"),
    )
    rows = {name: numbers(cells) for name, *cells in map(str.split, output.splitlines()[2:])}
    assert rows["grad_hidden_norm"][2] == pytest.approx(1, abs=1e-3)
    assert "grad_weight_norm" not in rows


def test_linear_log_likelihood_against_chunks(ran):
    sizes = ("--rows", 16, "--tokens", 64, "--hidden", 8)
    output = ran("linear_log_likelihood", "--device", "cpu", "--chunked", *sizes)
    table = [line.strip("| ").split(" | ") for line in output.splitlines() if line[0] == "|"]
    assert [row[:2] for row in table[2:]] == [
        [kind, direction]
        for kind in ("bf16", "float32")
        for direction in ("forward", "forward + backward")
    ]
    for row in table[2:]:
        assert min(numbers(row[2:])) > 0
        assert len(row) == len(table[0])


def test_linear_log_likelihood_expected(ran):
    output = ran("linear_log_likelihood", "--expected")
    rows = dict(line.strip("| ").split(" | ", 1) for line in output.splitlines()[2:])
    found = {way: numbers(cells.split(" | ")) for way, cells in rows.items()}
    # products of 12.5 ms: one forward, three backward, and what lies between
    for forward, both in zip(found["kernels"][::2], found["kernels"][1::2], strict=True):
        assert 12.5 + 4 < forward < 19
        assert 50 + 9 < both < 1.2 * 69 < found["torch"][1]
    # measured on an H200: 27, 69, 31 and 82
    for ours, measured in zip(found["chunked"], (27, 69, 31, 82), strict=True):
        assert 0.75 < ours / measured < 0.95


def test_uld(ran):
    arguments = ("--rows", 16, "--tokens", 64, "--teacher-tokens", 48, "--hidden", 8)
    output = ran("uld", *arguments, "--repeats", 1)
    parts = re.findall(r"^(\S.*?) +([\d.]+) +([\d.]+) +([\d.]+)$", output, re.MULTILINE)
    assert len(parts) == 6
    # each is told as a multiple of the first
    assert numbers(parts[0][3:]) == [1]
    assert min(float(part[3]) for part in parts) > 0


def test_one_vocabulary(ran):
    output = ran(
        *("one_vocabulary", "--rows", 16, "--tokens", 500, "--hidden", 8),
        *("--teacher-hidden", 16, "--slices", 11, 20, "--repeats", 1),
    )
    rows = re.findall(r"^(\S.*?) +2\^(\d+) +([\d.]+) +([\d.]+)$", output, re.MULTILINE)
    names = ["KL, columns picked", "KL", "total variation"]
    assert [(name, size) for name, size, *_ in rows] == [
        (n, s) for s in ("11", "20") for n in names
    ]
    assert all(0 < float(times) < HIGHEST for *_, times in rows)


def test_boundary_estimates(ran, model_folder, texts):
    arguments = ("--model", model_folder, "--text", texts["corpus"], "--sequences", 2)
    output = ran("boundary_estimates", *arguments)
    lines = [line.split(" | ") for line in output.splitlines() if " share by number " in line]
    assert [line[0] for line in lines] == ["| 5", "| 20", "| 100"]
    errors = [float(line[3]) for line in lines]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05
