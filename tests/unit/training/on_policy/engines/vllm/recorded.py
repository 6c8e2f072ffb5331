"""In the place of the package `vllm`: writes down what it is asked, and answers by transformers."""

import os
import random
from types import SimpleNamespace

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Requested(dict):
    """Arguments of a call, as attributes too."""

    __getattr__ = dict.__getitem__


class RecordedLLM:
    """Has the calls of `vllm.LLM`, and refuses what vLLM refuses: a request while it sleeps.

    Like vLLM it seeds the process, and sets the precision of products.
    """

    def __init__(self, **arguments):
        self.arguments, self.calls, self.asleep = arguments, [], set()
        self.environment = {name: os.environ.get(name) for name in ENVIRONMENT}
        folder, dtype = arguments["model"], getattr(torch, arguments["dtype"])
        self.files = sorted(os.listdir(folder))
        self.config = AutoConfig.from_pretrained(folder)
        self.model, loading = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True
        )
        assert not loading["missing_keys"]
        assert not loading["unexpected_keys"]
        self.model.eval()
        torch.manual_seed(arguments["seed"])
        np.random.seed(arguments["seed"])  # noqa: NPY002
        random.seed(arguments["seed"])
        torch.set_float32_matmul_precision("high")
        self.resets = True

    def generate(self, prompts, parameters, *, use_tqdm):
        assert not self.asleep
        assert not torch.is_autocast_enabled("cpu")
        self.calls.append("generate")
        self.prompts, self.parameters = prompts, parameters
        return [self._output(*each) for each in zip(prompts, parameters, strict=True)]

    @torch.no_grad()
    def _output(self, prompt, parameters):
        generator = torch.Generator().manual_seed(parameters.seed)
        ids, sampled, reason = list(prompt["prompt_token_ids"]), [], "length"
        for _ in range(parameters.max_tokens):
            logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            probabilities = (logits.float() / parameters.temperature).softmax(-1)
            if parameters.top_p < 1e-3:
                drawn = int(probabilities.argmax())
            else:
                drawn = int(torch.multinomial(probabilities, 1, generator=generator))
            ids.append(drawn)
            sampled.append(drawn)
            if drawn in parameters.stop_token_ids:
                reason = "stop"
                break
        completion = SimpleNamespace(token_ids=sampled, finish_reason=reason)
        return SimpleNamespace(
            prompt_token_ids=prompt["prompt_token_ids"], outputs=[self.spoiled(completion)]
        )

    def spoiled(self, completion):
        return completion

    def sleep(self, level):
        self.calls.append(f"sleep {level}")
        self.asleep = {"weights", "kv_cache"}
        if level == 2:
            for parameter in self.model.parameters():
                parameter.data.fill_(torch.nan)

    def wake_up(self, tags):
        self.calls.append(f"wake {' '.join(tags)}")
        self.asleep -= {*tags}

    def collective_rpc(self, method, kwargs):
        assert method == "reload_weights"
        assert "weights" not in self.asleep
        self.calls.append(method)
        weights = dict(kwargs["weights_iterator"])
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        assert not unexpected
        assert {*missing} <= {*self.model.all_tied_weights_keys}

    def reset_prefix_cache(self):
        assert not self.asleep
        self.calls.append("reset")
        return self.resets


class Package(SimpleNamespace):
    """What has attributes of its own, and is itself alone, as a module is."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def package(*architectures, llm=RecordedLLM):
    return Package(
        LLM=llm,
        SamplingParams=Requested,
        TokensPrompt=dict,
        ModelRegistry=SimpleNamespace(get_supported_archs=lambda: {*architectures}),
    )
