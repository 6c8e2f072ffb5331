"""evaluate.py on tiny models: what it measures, what it leaves, and how it goes on."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.runs import REPOSITORY

from alm_lightning.app.evaluate.arguments import model_arguments
from alm_lightning.app.evaluate.command import evaluate

# whole runs
pytestmark = pytest.mark.slow

LOAD = "alm_lightning.app.evaluate.plan.load_evaluated"
MODELS = REPOSITORY / "conf" / "model"


@pytest.fixture
def evaluate_here(tmp_path):
    """Composes an evaluation, and runs it in this process."""

    def run(*arguments, output="evaluation"):
        said = [f"paths.output_dir={tmp_path / output}", "dtype=float32"]
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            cfg = compose("evaluate", [*said, *model_arguments(arguments)])
        return evaluate(cfg, MODELS)

    return run


@pytest.fixture
def corpus(texts):
    return ["corpus=text", f"corpus.source.path={texts['corpus']}"]


@pytest.fixture
def second_folder(tmp_path, model_folder):
    folder = tmp_path / "second"
    shutil.copytree(model_folder, folder)
    return folder


def figures(result):
    return {name: figure["value"] for name, figure in result["figures"].items()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_figures_of_a_run_are_those_that_it_printed(
    run_here, evaluate_here, tmp_path, tiny, precision
):
    exact = ["export_dtype=float32", f"trainer.precision={precision}"]
    summary = run_here(*exact, f"paths.output_dir={tmp_path / 'run'}")
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        cfg = compose("train", [*tiny, *exact, f"paths.output_dir={tmp_path / 'run'}"])
    (tmp_path / "run" / ".hydra").mkdir()
    OmegaConf.save(cfg, tmp_path / "run" / ".hydra" / "config.yaml")
    [result] = evaluate_here(f"model={tmp_path / 'run'}", "harness=run")
    found = figures(result)
    for suffix in ("", "_other"):
        printed = summary[f"bits_per_byte{suffix}"]
        assert found[f"bits_per_byte{suffix}"] == pytest.approx(printed["student_after"], abs=1e-5)
        teacher = found[f"bits_per_byte_teacher{suffix}"]
        assert teacher == pytest.approx(printed["teacher"], abs=1e-5)
        difference = summary["chunk_difference"][f"after{suffix}"]
        assert found[f"chunk_difference{suffix}"] == pytest.approx(difference, abs=1e-5)
    assert found["bits_per_byte"] != pytest.approx(
        summary["bits_per_byte"]["student_before"], abs=1e-5
    )


def test_a_report_of_a_student_beside_its_teacher(
    evaluate_here, model_folder, corpus, tmp_path, capsys
):
    for _ in range(2):
        # the second call has nothing to score, and makes the page anew
        evaluate_here(
            f"model={model_folder}",
            "harness=[bits_per_byte,compare]",
            f"harness.compare.teacher={model_folder}",
            "report=true",
            *corpus,
        )
        assert f"report   {tmp_path / 'evaluation' / 'report.html'}" in capsys.readouterr().out
    page = (tmp_path / "evaluation" / "report.html").read_text("utf-8")
    assert page.count("<svg") >= 1
    assert "prose.txt:1" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert not list((tmp_path / "evaluation").glob(".*"))


def test_a_prompt_is_gone_on_with_on_the_terminal(evaluate_here, model_folder, capsys):
    [result] = evaluate_here(
        f"model={model_folder}",
        "harness=generate",
        "prompt='The quick, brown fox: it'",
        "harness.generate.max_new_tokens=5",
    )
    [sample] = result["samples"]
    assert sample["prompt"] == "The quick, brown fox: it"
    assert f"The quick, brown fox: it{sample['continuation']}" in capsys.readouterr().out


def test_a_model_drafts_for_itself(evaluate_here, model_folder, corpus, tmp_path):
    [result] = evaluate_here(
        f"model={model_folder}",
        "harness=draft",
        f"harness.draft.target={model_folder}",
        "harness.draft.max_prompts=2",
        "harness.draft.max_new_tokens=6",
        "harness.draft.prompt_lookup=true",
        "report=true",
        *corpus,
    )
    found = figures(result)
    assert found["accepted"] == found["equal"] == found["equal_prompt_lookup"] == 1
    assert found["overlap"] == pytest.approx(1, abs=1e-5)
    assert found["speed_up"] > 0
    page = (tmp_path / "evaluation" / "report.html").read_text("utf-8")
    assert "draft: tiny-gemma" in page
    assert "tokens/forward" in page


def test_several_models_make_one_table(
    evaluate_here, model_folder, second_folder, corpus, tmp_path, capsys
):
    found = evaluate_here(f"model=[{model_folder},{second_folder}]", *corpus)
    assert [result["model"] for result in found] == ["tiny-gemma", "second"]
    assert figures(found[0]) == figures(found[1])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1] == str(tmp_path / "evaluation" / "results.json")
    assert json.loads((tmp_path / "evaluation" / "results.json").read_text("utf-8")) == found
    table = (tmp_path / "evaluation" / "results.md").read_text("utf-8")
    assert "|  | unit | tiny-gemma | second |" in table
    assert found[0]["versions"]["transformers"]


def test_an_evaluation_goes_on_where_it_was(evaluate_here, model_folder, corpus, tmp_path):
    first = evaluate_here(f"model={model_folder}", *corpus)
    records = tmp_path / "evaluation" / "tiny-gemma" / "bits_per_byte" / "records.jsonl"
    lines = records.read_text("utf-8").splitlines(keepends=True)
    assert len(lines) == 12
    # a stopped call: some records are missing, one half written; and one that must not be redone
    kept = json.loads(lines[0]) | {"nats": 0.0}
    records.write_text("".join([json.dumps(kept) + "\n", *lines[1:5], lines[5][:7]]), "utf-8")
    second = evaluate_here(f"model={model_folder}", *corpus)
    assert len(records.read_text("utf-8").splitlines()) == 12
    assert second[0]["figures"]["bytes"] == first[0]["figures"]["bytes"]
    lost = json.loads(lines[0])["nats"]
    assert figures(second[0])["bits_per_byte"] < figures(first[0])["bits_per_byte"]
    assert lost > 0
    with pytest.raises(ValueError, match="context_bytes"):
        evaluate_here(f"model={model_folder}", *corpus, "harness.bits_per_byte.context_bytes=3000")


def test_an_ensemble_beside_its_members(evaluate_here, model_folder, second_folder, corpus):
    found = evaluate_here(
        "model=ensemble",
        f"model.members=[{model_folder},{second_folder}]",
        "model.combine=[mean_prob,mean_logprob]",
        *corpus,
    )
    assert [result["model"] for result in found] == [
        "tiny-gemma",
        "second",
        "ensemble-mean_prob",
        "ensemble-mean_logprob",
    ]
    bits = [figures(result)["bits_per_byte"] for result in found]
    # two copies of one model are that model
    assert bits == [pytest.approx(bits[0], abs=1e-6)] * 4


def test_weights_are_fitted_on_other_text(
    evaluate_here, model_folder, second_folder, corpus, texts, tmp_path, capsys, monkeypatch
):
    path = tmp_path / "code.txt"
    shutil.copy(texts["corpus_other"], path)

    def call(*more):
        return evaluate_here(
            "model=ensemble",
            f"model.members=[{model_folder},{second_folder}]",
            "model.weights=fit",
            "model.alone=false",
            "corpus@corpus_fit=text",
            f"corpus_fit.source.path={path}",
            *corpus,
            *more,
        )

    [result] = call()
    assert result["model"] == "ensemble-mean_prob-fitted"
    assert result["weights"] == {"tiny-gemma": 0.5, "second": 0.5}
    assert (result["combine"], result["fitted_on"]["documents"]) == ("mean_prob", 12)
    told = f"mean_prob of tiny-gemma 0.500 (folder {model_folder}), second 0.500 ("
    assert result["described"].startswith(told)
    tokens = result["fitted_on"]["tokens"]
    assert result["described"].endswith(f"fitted on 12 documents of {path} ({tokens:,} tokens)")
    assert result["described"] in (tmp_path / "evaluation" / "results.md").read_text("utf-8")
    assert f"{result['model']}: {result['described']}" in capsys.readouterr().out
    # weights of an earlier call are taken again, and other text is noticed
    with monkeypatch.context() as patch:
        patch.setattr("alm_lightning.app.evaluate.plan.fit", lambda *_: pytest.fail("fitted"))
        more = ["harness=[bits_per_byte,generate]", "prompt=The", "harness.generate.seed=1"]
        assert [each["weights"] for each in call(*more)] == [result["weights"]] * 2
    (tmp_path / "evaluation" / "ensemble-mean_prob-fitted" / "weights.json").unlink()
    assert call()[0]["weights"] == result["weights"]
    path.write_text(path.read_text("utf-8").replace("add", "sub"), "utf-8")
    with pytest.raises(ValueError, match=r"\(model\.fit\.text: '\w+', now '\w+'\)"):
        call()


def test_weights_are_not_fitted_on_the_text_of_the_evaluation(
    evaluate_here, model_folder, second_folder, corpus, texts, tmp_path, monkeypatch
):
    monkeypatch.setattr(LOAD, lambda *_: pytest.fail("loaded"))
    documents = texts["corpus"].read_text("utf-8").split("\n\n")
    (tmp_path / "fit.txt").write_text("\n\n".join(["Another.", *documents[3:5]]), "utf-8")
    for harness in ("bits_per_byte", "compare"):
        with pytest.raises(ValueError, match=rf"^2 of the 3 documents.*harness={harness} as well"):
            evaluate_here(
                "model=ensemble",
                f"model.members=[{model_folder},{second_folder}]",
                "model.weights=fit",
                "corpus@corpus_fit=text",
                f"corpus_fit.source.path={tmp_path / 'fit.txt'}",
                f"harness={harness}",
                *([f"harness.compare.teacher={model_folder}"] if harness == "compare" else []),
                *corpus,
            )


def test_members_are_compared_before_any_is_evaluated(
    evaluate_here, model_folder, second_folder, byte_level_tokenizer, corpus, monkeypatch
):
    monkeypatch.setattr(LOAD, lambda *_: pytest.fail("loaded"))
    byte_level_tokenizer.save_pretrained(second_folder)
    members = f"[{model_folder},{second_folder}]"
    with pytest.raises(ValueError, match="tiny-gemma and second can't be combined: id "):
        evaluate_here("model=ensemble", f"model.members={members}", *corpus)


def test_the_last_model_is_looked_at_before_the_first_is_evaluated(
    evaluate_here, model_folder, second_folder, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(LOAD, lambda *_: pytest.fail("loaded"))
    (second_folder / "config.json").write_text('{"model_type": "t5"}', "utf-8")
    given = f"model=[{model_folder},{second_folder}]"
    with pytest.raises(ValueError, match=r"second \(folder .*\) is a model of type t5"):
        evaluate_here(given, *corpus)
    (second_folder / "config.json").write_text('{"model_type": "none-such"}', "utf-8")
    with pytest.raises(ValueError, match=r"second \(folder .*\) can't be loaded"):
        evaluate_here(given, *corpus)
    (second_folder / "tokenizer.json").unlink()
    with pytest.raises(Exception, match="tokenizer"):
        evaluate_here(given, *corpus)
    assert not (tmp_path / "evaluation" / "tiny-gemma").exists()


def test_settings_that_change_no_figure_are_not_compared(
    evaluate_here, model_folder, corpus, monkeypatch
):
    said = [f"model={model_folder}", "harness=compare", f"harness.compare.teacher={model_folder}"]
    first = evaluate_here(*said, *corpus)
    monkeypatch.setattr(LOAD, lambda *_: pytest.fail("loaded"))
    others = ["harness.compare.batch_size=2", "harness.compare.shown_documents=3"]
    second = evaluate_here(*said, *corpus, *others)
    assert second[0]["figures"] == first[0]["figures"]
    with pytest.raises(ValueError, match=r"\(harness\.student_length: 512, now 100\)"):
        evaluate_here(*said, *corpus, "harness.compare.student_length=100")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["harness=compare"], "harness.compare.teacher"),
        (["harness=compare", "harness.compare.teacher=none-such"], "none-such"),
        (["harness=blimp"], "harness.blimp.path"),
        (["harness=blimp", "harness.blimp.path=none.jsonl"], "none.jsonl"),
        (["harness=run"], "lies in no run's folder"),
        (["names=[a,b]"], "names"),
        (["model=ensemble", "model.members=[MODEL,MODEL]", "model.weights=[1]"], "weights"),
        (["model=ensemble", "model.members=[MODEL,MODEL]", "model.combine=sum"], "mean_prob"),
        (
            [
                "model=ensemble",
                "model.members=[MODEL,MODEL]",
                "model.weights=fit",
                "model.combine=[mean_prob,mean_logprob]",
            ],
            "only",
        ),
    ],
)
def test_bad_input_is_told_before_a_model_is_loaded(
    evaluate_here, model_folder, arguments, said, monkeypatch
):
    monkeypatch.setattr(LOAD, lambda *_: pytest.fail("loaded"))
    given = [argument.replace("MODEL", str(model_folder)) for argument in arguments]
    with pytest.raises(Exception, match=said):
        evaluate_here(f"model={model_folder}", *given)


def test_the_command_of_the_readme(model_folder, corpus, tmp_path):
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "evaluate.py"), f"model={model_folder}", *corpus],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = done.stdout.strip().splitlines()[-1]
    [result] = json.loads((tmp_path / path).read_text("utf-8"))
    assert result["figures"]["bits_per_byte"]["unit"] == "bits/byte"
    assert "bits_per_byte: bits_per_byte" in done.stdout
