"""How a student and a teacher are made, and what does not go together."""

import json
import logging
import shutil

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.runs import REPOSITORY
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, GenerationConfig

from alm_lightning.app.train.build import pair_plan
from alm_lightning.distillation.models import StoredModel
from alm_lightning.export.folder import export_folder
from alm_lightning.models.weights.sources import Folder

EOS = "<0xC3>"


@pytest.fixture
def without_accents(model_folder, tmp_path):
    """The tiny model, with half of each accented letter of Latin for its EOS."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"eos_token": EOS}), encoding="utf-8")
    return folder


def scorers_of(folder, *overrides):
    given = [f"student.source.path={folder}", "student=folder", "trainer=cpu", *overrides]
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        return pair_plan(compose("train", given)).build("cpu")


def test_texts_that_the_pair_cannot_cover_are_logged(without_accents, caplog):
    with caplog.at_level(logging.WARNING):
        scorers_of(without_accents)
    (message,) = [
        r.getMessage() for r in caplog.records if r.name == "alm_lightning.distillation.models"
    ]
    assert "have no chunk for parts of texts like these" in message
    assert "accents: 8 of 20 bytes of 'café Größe naïve'" in message


def test_nothing_is_logged_of_a_pair_that_covers_all(model_folder, caplog):
    with caplog.at_level(logging.WARNING):
        scorers_of(model_folder)
    assert not [
        record for record in caplog.records if record.name == "alm_lightning.distillation.models"
    ]


def test_stops_of_the_model_are_kept(model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    eos, end, start = tokenizer.convert_tokens_to_ids(["<eos>", "<end_of_turn>", "<start_of_turn>"])
    GenerationConfig(eos_token_id=[end, eos]).save_pretrained(folder)
    own = ("tokenizer=own", "embeddings=own", "adapter=full")
    student, _ = scorers_of(folder, *own)
    assert student.model.generation_config.eos_token_id == [eos, end]
    student, _ = scorers_of(folder, *own, "student.stop_tokens=['<start_of_turn>','<end_of_turn>']")
    assert student.model.generation_config.eos_token_id == [eos, start, end]
    # a tokenizer without such a token has its EOS
    student, _ = scorers_of(folder, "tokenizer=bytes")
    assert student.model.generation_config.eos_token_id == [student.view.id_of("eos")]


def test_a_stop_that_is_no_special_token_is_told(model_folder, tmp_path, caplog):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    GenerationConfig(eos_token_id=[300]).save_pretrained(folder)
    with caplog.at_level(logging.WARNING):
        student, _ = scorers_of(folder, "tokenizer=own", "embeddings=own", "adapter=full")
    # it has the end of a turn in its vocabulary, whatever the settings say
    eos, end = student.view.id_of("eos"), student.view.special_ids["<end_of_turn>"]
    assert student.model.generation_config.eos_token_id == [eos, end]
    assert "stop at token ids [300], which are no special tokens" in caplog.text


@pytest.mark.parametrize("trains", [False, True])
def test_an_end_that_the_model_never_learned_is_told(model_folder, tmp_path, caplog, trains):
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    end = AutoTokenizer.from_pretrained(model_folder).convert_tokens_to_ids("<end_of_turn>")
    weight = model.get_output_embeddings().weight
    with torch.no_grad():
        weight[100:140] = weight[end]
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    model.save_pretrained(folder)
    with caplog.at_level(logging.WARNING):
        scorers_of(
            folder,
            *("tokenizer=own", "embeddings=own", "adapter=lora", "adapter.share_body=false"),
            f"adapter.train_embeddings={trains}",
        )
    found = [r.getMessage() for r in caplog.records if "never trained to say it" in r.getMessage()]
    assert len(found) == (not trains)
    assert trains or "the student's row of <end_of_turn> in the output matrix" in found[0]
    assert trains or "those of 40 other tokens" in found[0]


@pytest.fixture
def settings(tiny):
    def settings(*overrides):
        with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
            return compose("train", [*tiny, *overrides])

    return settings


@pytest.mark.parametrize("tokenizer", ["qwen2", "smollm2"])
def test_embeddings_of_bytes_for_another_tokenizer(settings, tokenizer):
    with pytest.raises(
        ValueError, match=r"is to be .*(Qwen|SmolLM2).*Take embeddings=fvt \(or omp"
    ):
        pair_plan(settings(f"tokenizer={tokenizer}"))
    pair_plan(settings(f"tokenizer={tokenizer}", "embeddings=fvt"))


@pytest.mark.parametrize(
    "new", [("tokenizer=bytes", "embeddings=bytes"), ("tokenizer=qwen2", "embeddings=fvt")]
)
def test_new_embeddings_that_would_stay_frozen(settings, new):
    frozen = ["adapter=lora", "adapter.train_embeddings=false"]
    with pytest.raises(
        ValueError, match=r"train_embeddings=false freezes.*Take train_embeddings=true, or"
    ):
        pair_plan(settings(*new, *frozen))
    pair_plan(settings(*new, "adapter=lora"))
    pair_plan(settings("tokenizer=own", "embeddings=own", *frozen))


def test_a_donor_that_is_nowhere_named(settings):
    for tokenizer in ("gpt2", "bytes"):
        with pytest.raises(ValueError, match=r"omp needs a donor.* can't be found \(.*Say where"):
            pair_plan(settings(f"tokenizer={tokenizer}", "embeddings=omp"))
    hub = "embeddings.initialisation.donor=${tokenizer.source.sources.hub.weights}"
    pair_plan(settings("tokenizer=gpt2", "embeddings=omp", hub))
    pair_plan(settings("tokenizer=smollm2", "embeddings=omp"))


def test_settings_of_generation_without_effect_cost_no_export(model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    file = folder / "generation_config.json"
    idle = {"temperature": 0.9, "top_p": 0.6, "length_penalty": 0.5}
    file.write_text(json.dumps({"eos_token_id": 1, **idle}), encoding="utf-8")
    student, _ = scorers_of(folder, "tokenizer=own", "embeddings=own", "adapter=full")
    path = export_folder(
        student.model, student.view.hf, tmp_path / "made", card="", dtype=torch.float32
    )
    written = json.loads((path / "generation_config.json").read_text(encoding="utf-8"))
    assert written["eos_token_id"] == 1
    assert not idle.keys() & written.keys()


def test_models_without_sdpa_are_loaded(metaspace_tokenizer, tmp_path):
    """As Gemma 2, which soft-caps its attention; and so is a byte student of it."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    config = Gemma2Config(
        vocab_size=len(metaspace_tokenizer),
        num_attention_heads=4,
        num_key_value_heads=2,
        **sizes,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gemma2")
    metaspace_tokenizer.save_pretrained(tmp_path / "gemma2")

    def attention_of(model):
        decoder = model.get_decoder()
        return getattr(decoder, "body", decoder).config._attn_implementation

    student, teacher = scorers_of(tmp_path / "gemma2", "tokenizer=bytes")
    assert attention_of(teacher.model) == attention_of(student.model) == "eager"
    path = export_folder(
        student.model, student.view.hf, tmp_path / "made", card="", dtype=torch.float32
    )
    for folder in (tmp_path / "gemma2", path):
        stored = StoredModel(name="x", licence="", source=Folder(path=str(folder)), dtype="float32")
        loaded = stored.load("student", "cpu").model
        assert attention_of(loaded) == "eager"
    ids = torch.tensor([[256, *b"the cat"]])
    with torch.no_grad():
        expected = student.model.eval()(ids).logits
        torch.testing.assert_close(loaded(ids).logits, expected, rtol=0, atol=1e-5)
