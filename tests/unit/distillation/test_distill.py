"""`alm_lightning.distill`: five lines train."""

import inspect
import json
import subprocess
import sys

import datasets
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from tests.conftest import SENTENCES, tiny_gemma3
from tests.runs import OTHER, TEXT
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import alm_lightning as alm
from alm_lightning.corpus.document import CorpusError
from alm_lightning.distillation.texts import source_of
from alm_lightning.models.adapters import LowRank
from alm_lightning.models.speed import Speed
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.training.on_policy import OnPolicy

TEXTS = [TEXT.format(n, n) for n in range(12)]
CHATS = [
    [
        {"role": "user", "content": f"What is {number} plus {number}?"},
        {"role": "assistant", "content": f"It is {2 * number}."},
    ]
    for number in range(12)
]
TINY = {
    "steps": 1,
    "batch_size": 2,
    "student_length": 96,
    "teacher_length": 96,
    "evaluation_windows": 2,
    "accelerator": "cpu",
    "precision": "32-true",
    "dtype": "float32",
    "progress": False,
}


@pytest.fixture
def model(metaspace_tokenizer):
    return tiny_gemma3(len(metaspace_tokenizer))


def objective(threshold=0.01):
    # an untrained teacher sees no boundary coming anywhere: at 0.1 all chunks would be one
    return {
        "alm": ALM(temperature=5, threshold=threshold, debias=True, divergence="kl"),
        "next_token": NextToken(),
        "hidden_states": HiddenStates(projection=None, learning_rate=1e-3, fades_by=None),
    }


def test_five_lines_train_and_save(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = alm.distill(student=model_folder, tokenizer="bytes", data=TEXTS, **TINY)
    bits = result.metrics["bits_per_byte"]
    assert bits.keys() == {"teacher", "student_before", "student_after"}
    assert result.metrics["steps"] == 1
    assert "bits_per_byte_other" not in result.metrics
    # nothing is written unasked
    assert not list(tmp_path.iterdir())
    folder = result.save("my-model", dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer("Größe", return_tensors="pt").input_ids
    assert ids.tolist() == result.tokenizer("Größe", return_tensors="pt").input_ids.tolist()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, result.student(ids).logits)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| bits_per_byte.student_after |" in card
    assert "| objective.next_byte.end | drop |" in card
    with pytest.raises(FileExistsError, match="my-model exists and is not empty"):
        result.save("my-model")
    (tmp_path / "empty").mkdir()
    assert (result.save(tmp_path / "empty") / "config.json").is_file()


def test_figures_are_those_of_the_command_line(run_here, texts, model_folder):
    from_command = run_here("export_dtype=float32")
    result = alm.distill(
        model_folder,
        tokenizer="bytes",
        data=texts["corpus"],
        other_data=texts["corpus_other"],
        special_tokens=["<start_of_turn>", "<end_of_turn>"],
        objective=objective(),
        steps=3,
        student_length=96,
        evaluation_windows=4,
        accelerator="cpu",
        progress=False,
    )
    for figure in result.metrics.keys() - {"seconds", "peak_memory_bytes"}:
        assert result.metrics[figure] == from_command[figure], figure


def test_objects_are_taken_and_left_as_they_were(model, metaspace_tokenizer, byte_level_tokenizer):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.train()
    result = alm.distill(
        model,
        student_tokenizer=metaspace_tokenizer,
        tokenizer=byte_level_tokenizer,
        data=datasets.Dataset.from_dict({"text": TEXTS, "number": [*range(12)]}),
        objective=objective()["alm"],
        **TINY,
    )
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert result.student is not model
    assert not result.student.training
    assert result.terms == ["alm"]
    assert isinstance(result.tokenizer, PreTrainedTokenizerFast)
    assert result.student.get_input_embeddings().num_embeddings == len(result.tokenizer)


def test_own_answers(model, metaspace_tokenizer):
    settings = {"temperature": 1.0, "top_p": 1.0, "every": 2, "batch_size": 4, "prompt_bytes": 16}
    own = OnPolicy(share=1.0, begins=0.0, rises=0.0, max_new_tokens=16, **settings)
    given = {
        "student": model,
        "student_tokenizer": metaspace_tokenizer,
        "tokenizer": "bytes",
        "data": TEXTS,
        **TINY,
    }
    result = alm.distill(on_policy=own, objective="alm", **given)
    assert result.recipe["on_policy.share"] == 1.0
    assert result.recipe["on_policy.engine.class"] == "TransformersSettings"
    with pytest.raises(ValueError, match="no term of the objective"):
        alm.distill(on_policy=own, objective="next_token", **given)


def test_speed(model, metaspace_tokenizer, monkeypatch):
    given = {
        "student": model,
        "student_tokenizer": metaspace_tokenizer,
        "tokenizer": "bytes",
        "data": TEXTS,
        "objective": "alm_next_token",
        **TINY,
    }
    plain = alm.distill(**given)
    compiled = []

    def compile_(forward):
        compiled.append(forward)
        return forward

    monkeypatch.setattr(torch, "compile", compile_)
    layers = model.model.layers
    speed = Speed(attention="eager", checkpointing=True, compile=True)
    result = alm.distill(speed=speed, **given)
    # all blocks of the teacher, and the student's but the last
    assert len(compiled) == 2 * len(layers) - 1
    for bits in ("student_before", "student_after"):
        got, want = (each.metrics["bits_per_byte"][bits] for each in (result, plain))
        assert got == pytest.approx(want, rel=1e-5), bits
    # the caller's model is as it was, and the student has nothing of it left
    assert model.config._attn_implementation == "sdpa"
    for layer in [*layers, *result.student.get_decoder().body.layers]:
        assert "forward" not in vars(layer)
        assert not layer.gradient_checkpointing
    assert result.recipe["speed.attention"] == "eager"
    with pytest.raises(ValueError, match="liger is true, and its kernels would stay"):
        alm.distill(speed=Speed(liger=True), **given)
    with pytest.raises(ValueError, match="speed is 'fast': expected one of gpu, none"):
        alm.distill(speed="fast", **given)


@pytest.mark.parametrize("tokenizer", ["name", "view", "bytes view", "own"])
def test_tokenizers(model_folder, byte_level_tokenizer, byte_level_view, tmp_path, tokenizer):
    byte_level_tokenizer.save_pretrained(tmp_path / "tokenizer")
    given = {
        "name": str(tmp_path / "tokenizer"),
        "view": byte_level_view,
        "bytes view": alm.load_tokenizer("bytes"),
        "own": None,
    }[tokenizer]
    objective = "next_token" if given is None else "alm_next_token"
    result = alm.distill(model_folder, tokenizer=given, data=TEXTS, objective=objective, **TINY)
    names = {"bytes view": "BytesFromOldTokens", "own": "OwnVocabulary"}
    assert result.recipe["embeddings.class"] == names.get(tokenizer, "NewVocabulary")


@pytest.mark.parametrize("kind", ["chats", "dataset", "rows", "jsonl", "generator"])
def test_chats(model_folder, tmp_path, kind):
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps({"messages": chat}) for chat in CHATS), encoding="utf-8")
    given = {
        "chats": CHATS,
        "dataset": datasets.Dataset.from_dict({"messages": CHATS}),
        "rows": [{"messages": chat} for chat in CHATS],
        "jsonl": path,
        "generator": (chat for chat in CHATS),
    }[kind]
    result = alm.distill(
        model_folder,
        tokenizer="bytes",
        special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat=chat_in_gemmas_format(),
        data=given,
        **TINY,
    )
    assert result.metrics["chunks"]["coverage"] == 1.0


def chat_in_gemmas_format():
    from alm_lightning.data.pairing import ChatSettings

    return ChatSettings(
        trained="all", system="own", student_template="gemma", teacher_template="gemma"
    )


def test_another_teacher_and_adapters(model, metaspace_tokenizer, model_folder, tmp_path):
    result = alm.distill(
        model_folder,
        teacher=model,
        teacher_tokenizer=metaspace_tokenizer,
        data=TEXTS,
        adapter="lora",
        output_dir=tmp_path / "logs",
        **TINY,
    )
    # a body that is another model's can't be shared
    assert result.recipe["adapter.share_body"] is False
    # checkpoints of before there were own answers are compared by these names
    assert not any(name.startswith("on_policy") for name in result.recipe)
    written = {path.name for path in (tmp_path / "logs").iterdir()}
    assert written == {"metrics.csv", "hparams.yaml"}
    with pytest.raises(FileExistsError, match=r"output_dir is .*logs, which exists"):
        alm.distill(model_folder, tokenizer="bytes", data=TEXTS, output_dir=tmp_path / "logs")


def test_only_the_first_process_checks_and_writes_folders(model_folder, tmp_path, monkeypatch):
    given = {"student": model_folder, "tokenizer": "bytes", "data": TEXTS, **TINY}
    result = alm.distill(**given)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "hparams.yaml").write_text("", encoding="utf-8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert result.save(tmp_path / "model") == tmp_path / "model"
    assert not (tmp_path / "model").exists()
    # the folder is not refused; the next check is
    with pytest.raises(ValueError, match=r"^objective is 'x'"):
        alm.distill(**given | {"objective": "x", "output_dir": logs})
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(FileExistsError, match="output_dir is"):
        alm.distill(**given | {"objective": "x", "output_dir": logs})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, r"^steps is 0: expected at least 1\."),
        ({"precision": "16"}, ValueError, r"^precision is 16"),
        ({"trainer": {"limit_val_batches": 0}}, ValueError, r"limit_val_batches is 0, and the"),
        ({"objective": "alms"}, ValueError, r"^objective is 'alms': expected one of alm, alm_next"),
        ({"alignment": "fine"}, ValueError, r"^alignment is 'fine': expected one of finest"),
        ({"on_bad_document": "drop"}, ValueError, r"^on_bad_document is 'drop': expected one of"),
        ({"data": []}, CorpusError, r"^data is empty"),
        ({"data": iter(())}, CorpusError, r"^data: the corpus is empty"),
        ({"data": ["one text"]}, CorpusError, r"has 1 documents"),
        ({"data": "The quick brown fox"}, FileNotFoundError, r"data is a path, and .*data=\[text"),
        ({"data": "x" * 5000}, FileNotFoundError, r"data is a path, and there is no file"),
        ({"data": [3, 4]}, CorpusError, r"^data\[0\]: expected text \(str\), found int"),
        ({"data": CHATS[0]}, CorpusError, r"^data\[0\] is a message: .*Give data=\[chat\]"),
        ({"data": [{"body": "a"}]}, CorpusError, r"no column text or messages, only body\. Say"),
        ({"data": [{"text": "a"}], "column": "body"}, CorpusError, r"no column 'body'"),
        ({"student": "./nowhere"}, FileNotFoundError, r"there is no folder"),
        ({"batch_size": 0}, ValueError, r"^batch_size is 0: expected a whole number of at least 1"),
        ({"learning_rate": 0.0}, ValueError, r"^learning_rate is 0\.0: expected a number above 0"),
        ({"tokenizer": None}, ValueError, r"one model with one tokenizer, .*learn from itself"),
        ({"teacher_tokenizer": "x"}, ValueError, r"^teacher_tokenizer is given, and the teacher"),
        ({"trainer": {"max_steps": 500}}, ValueError, r"max_steps=500, .* give steps=\.\.\. in"),
        ({"trainer": {"precision": "bf16-true"}}, ValueError, r"give precision=\.\.\. in place"),
        ({"trainer": {"accelerator": "gpu"}}, ValueError, r"give accelerator=\.\.\. in place"),
        ({"trainer": {"strategy": "fsdp"}}, ValueError, r"^strategy is fsdp: expected one of"),
        (
            {"tokenizer": "./nowhere"},
            FileNotFoundError,
            r"there is no file or folder .*nowhere: it should hold a tokenizer",
        ),
        ({"embeddings": "byte"}, ValueError, r"^embeddings is 'byte': expected one of bytes, fvt"),
        ({"student_tokenizer": "x"}, ValueError, r"^student_tokenizer goes with a model object"),
    ],
)
def test_wrong_arguments_are_named(model_folder, arguments, error, message):
    given = {"student": model_folder, "tokenizer": "bytes", "data": TEXTS, **TINY}
    with pytest.raises(error, match=message):
        alm.distill(**given | arguments)


WRONG_KINDS = """
import transformers
import alm_lightning as alm

sizes = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
model = transformers.LlamaForCausalLM(transformers.LlamaConfig(num_hidden_layers=1, **sizes))
for wrong in (
    {"batch_size": 1.5}, {"learning_rate": "x"}, {"student": 3}, {"data": 3},
    {"objective": {"x": 3}}, {"tokenizer": 3}, {"data": b"text"},
    {"teacher": object()}, {"teacher": {"a": 1}}, {"teacher": [model, model]},
):
    try:
        alm.distill(**{"student": "./a", "tokenizer": "bytes", "data": ["a", "b"]} | wrong)
    except (TypeError, ValueError) as error:
        print(error)
"""


@pytest.mark.slow
def test_wrong_kinds_are_named():
    # in a process of its own: in this one beartype looks at annotations before the function does
    said = subprocess.run(
        [sys.executable, "-c", WRONG_KINDS], capture_output=True, text=True, check=True
    )
    assert [line.partition(":")[0] for line in said.stdout.splitlines()] == [
        "batch_size is 1.5",
        "learning_rate is 'x'",
        "student is a int",
        "data is a int",
        "x of the objective is a int",
        "tokenizer is a int",
        "data is a bytes",
        "teacher is a object",
        "teacher is a dict",
        "teacher is a list, and its entry 0 a LlamaForCausalLM",
    ]
    assert "each must be scored first" in said.stdout


def test_objects_that_do_not_do(model, model_folder, metaspace_tokenizer):
    with pytest.raises(ValueError, match=r"student is a Gemma3ForCausalLM without.*student_tok"):
        alm.distill(model, tokenizer="bytes", data=TEXTS, **TINY)
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": TEXTS})})
    with pytest.raises(TypeError, match=r"several splits, train\. Give .*data=dataset\['train'\]"):
        alm.distill(model_folder, tokenizer="bytes", data=splits, **TINY)
    shared = LowRank(rank=2, alpha=2, share_body=True, train_embeddings=True)
    with pytest.raises(ValueError, match=r"share_body=true, but the student starts as another"):
        alm.distill(
            model_folder,
            teacher=model,
            teacher_tokenizer=metaspace_tokenizer,
            data=TEXTS,
            adapter=shared,
            **TINY,
        )


def test_the_import_is_light():
    code = "import sys, alm_lightning; print('lightning' in sys.modules, alm_lightning.__all__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("False")
    assert "distill" in inspect.getmodule(alm).__all__
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        alm.distil  # noqa: B018


def test_texts_of_a_folder(model_folder, tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(SENTENCES[:3]), encoding="utf-8")
    (tmp_path / "b.txt").write_text(OTHER.format(1, 1), encoding="utf-8")
    assert alm.distill(model_folder, tokenizer="bytes", data=tmp_path, **TINY).metrics["steps"] == 1


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (lambda model: {"teacher": []}, ValueError, "empty list"),
        (lambda model: {"combine": "sum"}, ValueError, "^combine is 'sum': expected one of"),
        (lambda model: {"combine": "mixture"}, ValueError, "there is one teacher"),
        (lambda model: {"teacher": model, "combine": "sum"}, ValueError, "^combine is 'sum'"),
        (lambda model: {"teacher_weights": [1]}, ValueError, "there is one teacher"),
    ],
)
def test_what_one_teacher_has_not(model, metaspace_tokenizer, given, kind, message):
    said = {"student_tokenizer": metaspace_tokenizer, "tokenizer": "bytes", "data": TEXTS, **TINY}
    with pytest.raises(kind, match=message):
        alm.distill(model, **said, **given(model))


def test_a_student_that_would_teach_itself(model, metaspace_tokenizer, model_folder, tmp_path):
    given = {"student_tokenizer": metaspace_tokenizer, "data": TEXTS, **TINY}
    message = "one model with one tokenizer, so that the student would learn from itself"
    with pytest.raises(ValueError, match=message):
        alm.distill(model, teacher=model, **given)
    with pytest.raises(ValueError, match=r"^teacher_tokenizer is given"):
        alm.distill(model, teacher=model, teacher_tokenizer=metaspace_tokenizer, **given)
    (tmp_path / "same").symlink_to(model_folder)
    for teacher in (str(model_folder), tmp_path / "same"):
        with pytest.raises(ValueError, match=message):
            alm.distill(model_folder, teacher=teacher, data=TEXTS, **TINY)
    # what learns from the text too is a run, as on the command line
    result = alm.distill(model, teacher=model, objective="alm_next_token", **given)
    assert result.terms == ["alm", "next_token"]
    # one model, named twice, is loaded once: adapters share it
    shared = alm.distill(
        model_folder,
        teacher=str(model_folder),
        data=TEXTS,
        objective="next_token",
        adapter="lora",
        **TINY,
    )
    assert shared.recipe["adapter.share_body"] is True


def test_strategies_that_are_objects(model_folder):
    given = {"tokenizer": "bytes", "data": TEXTS, **TINY}
    strategy = SingleDeviceStrategy(device=torch.device("cpu"))
    result = alm.distill(model_folder, trainer={"strategy": strategy}, **given)
    assert result.metrics["steps"] == 1


def test_a_special_token_that_the_model_has_nothing_like(model_folder):
    view = byte_view(other_specials=["<think>"])
    result = alm.distill(model_folder, tokenizer=view, data=TEXTS, **TINY)
    assert result.student.get_input_embeddings().num_embeddings == 260


OTHERS = [OTHER.format(n, n) for n in range(12)]


@pytest.mark.parametrize("kind", ["dataset", "rows", "jsonl", "txt", "same column"])
def test_a_column_that_other_data_lacks(model_folder, tmp_path, kind):
    rows = [{"text": text} for text in OTHERS]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "a.txt").write_text("\n\n".join(OTHERS), encoding="utf-8")
    other = {
        "dataset": datasets.Dataset.from_list(rows),
        "rows": rows,
        "jsonl": tmp_path / "a.jsonl",
        "txt": tmp_path / "a.txt",
        "same column": [{"body": text, "text": "no"} for text in OTHERS],
    }[kind]
    source = source_of(other, column="body", name="other_data", needs_column=False)
    # a text file's last line end is a text file's
    assert [document.text.strip() for document in source.documents()] == [t.strip() for t in OTHERS]
    if kind == "dataset":
        result = alm.distill(
            model_folder,
            tokenizer="bytes",
            data=[{"body": text} for text in TEXTS],
            other_data=other,
            column="body",
            **TINY,
        )
        assert result.metrics["bits_per_byte_other"]["student_after"] > 0
