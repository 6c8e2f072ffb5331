import dataclasses
import re

import pytest
from tests.unit.export.gguf.engine_files import PADDING, write_folder, write_gguf

from alm_lightning.export.gguf.agreement import (
    conversion_errors,
    conversion_warnings,
    draft_errors,
    draft_warnings,
)
from alm_lightning.export.gguf.vocabulary import of_folder, of_gguf, read_vocabulary


@pytest.fixture(scope="module")
def made_of(tmp_path_factory, byte_level_tokenizer):
    return of_folder(write_folder(tmp_path_factory.mktemp("model") / "m", byte_level_tokenizer))


@pytest.fixture
def vocabulary(tmp_path, byte_level_tokenizer):
    """Of a GGUF file with something wrong."""

    def read(**changes):
        return of_gguf(write_gguf(tmp_path / "x.gguf", byte_level_tokenizer, **changes))

    return read


def test_a_right_file_has_no_differences(made_of, vocabulary, byte_level_tokenizer):
    written = vocabulary()
    assert conversion_errors(written, made_of) == []
    assert draft_errors(written, written) == []
    assert draft_errors(written, made_of) == []
    assert draft_warnings(written, made_of) == []
    assert written.rows == made_of.rows == len(byte_level_tokenizer) + PADDING
    assert made_of.tokens[-1] == f"[PAD{made_of.rows - 1}]"
    assert (made_of.adds_bos, made_of.adds_eos) == (True, False)


def swapped(tokens, first, other):
    tokens = list(tokens)
    tokens[first], tokens[other] = tokens[other], tokens[first]
    return tokens


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: {"rows": of.rows - PADDING}, r"matrix has 340 rows.* config.json .* 346"),
        (lambda of: {"tokens": of.tokens[:-1]}, r"file has 345 tokens and the folder 346"),
        (
            lambda of: {"tokens": swapped(of.tokens, 7, 9)},
            r"2 ids .*id 7 is '%' in the file and '#'.*id 9",
        ),
        # llama.cpp does not look at the first five of a draft, but a conversion is wrong
        (lambda of: {"tokens": swapped(of.tokens, 0, 1)}, r"id 0 is '<eos>' in the file"),
        (lambda of: {"bos_token_id": 3}, r"bos is 3 in the file and 2 in the folder"),
        (lambda of: {"eos_token_id": 3}, r"eos is 3 in the file and 1 in the folder"),
        (lambda of: {"padding_token_id": None}, r"pad is None in the file and 0 in the folder"),
        (lambda of: {"eot_token_id": 4}, r"stops at \[4\] by the file, and at \[1\]"),
        (lambda of: {"add_bos_token": False}, r"add_bos_token is False .* True in the folder"),
        # what the cut of GPT-2 does where the file does not say
        (lambda of: {"add_bos_token": None}, r"add_bos_token is False .* True in the folder"),
        (lambda of: {"add_eos_token": True}, r"add_eos_token is True .* False in the folder"),
    ],
)
def test_what_a_wrong_conversion_changed(made_of, vocabulary, change, said):
    errors = conversion_errors(vocabulary(**change(made_of)), made_of)
    assert any(re.search(said, error) for error in errors), errors


def test_stops_of_the_folder(tmp_path, byte_level_tokenizer, vocabulary):
    folder = write_folder(tmp_path / "m", byte_level_tokenizer, stop_ids=[4])
    assert of_folder(folder).stop_ids == {1, 4}
    assert conversion_errors(vocabulary(eot_token_id=4), of_folder(folder)) == []
    assert conversion_warnings(vocabulary(eot_token_id=4), of_folder(folder)) == []
    # llama.cpp may know it by its name
    assert conversion_errors(vocabulary(), of_folder(folder)) == []
    (warning,) = conversion_warnings(vocabulary(), of_folder(folder))
    assert warning.startswith(
        f"generation stops at 4 ({of_folder(folder).tokens[4]}) by the folder"
    )


def test_roles_that_only_the_configuration_has(tmp_path, byte_level_tokenizer):
    folder = write_folder(tmp_path / "m", byte_level_tokenizer, bos_token_id=3)
    assert of_folder(folder).roles == {"bos": 2, "eos": 1, "pad": 0}
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"bos_token": "<bos>",', ""))
    assert of_folder(folder).roles == {"bos": 3, "eos": 1, "pad": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "llama"}, r"draft's vocabulary is of type gpt2, the target's llama"),
        ({"add_bos_token": False}, r"add_bos_token is True in the draft and False in the target"),
        ({"bos_token_id": 3}, r"bos, which texts get, is 2 in the draft and 3 in the target"),
        # llama.cpp's default of byte-level BPE
        ({"bos_token_id": None}, r"bos, which texts get, is 2 in the draft and 11 in the target"),
        ({"add_eos_token": True}, r"add_eos_token is False in the draft and True in the target"),
    ],
)
def test_why_llama_cpp_refuses_a_draft(vocabulary, change, said):
    (error,) = draft_errors(vocabulary(), vocabulary(**change))
    assert re.search(said, error)


def test_how_far_sizes_of_vocabularies_may_differ(vocabulary):
    draft = vocabulary()
    more = [f"new{index}" for index in range(129)]
    near = vocabulary(tokens=[*draft.tokens, *more[:-1]], rows=draft.rows + 128)
    assert draft_errors(draft, near) == []
    assert draft_warnings(draft, near) == [
        "the draft has 346 rows and the target 474: vLLM and transformers ask for equal numbers"
    ]
    far = vocabulary(tokens=[*draft.tokens, *more])
    (error,) = draft_errors(draft, far)
    assert error.endswith("346 tokens and the target 475: they may differ by 128 at most")


def test_ids_that_llama_cpp_compares(vocabulary):
    draft = vocabulary()
    assert draft_errors(draft, vocabulary(tokens=swapped(draft.tokens, 3, 4))) == []
    (error,) = draft_errors(draft, vocabulary(tokens=swapped(draft.tokens, 4, 5)))
    assert error.startswith("1 ids stand for other tokens (id 5 is ")
    (error,) = draft_errors(draft, vocabulary(tokens=[f"{token}x" for token in draft.tokens]))
    assert error.startswith("341 ids")
    assert error.endswith("; ...)")


def test_spaces_of_user_defined_tokens(vocabulary, made_of):
    """The converter writes them plainly; two files are compared to the letter, as in llama.cpp."""
    tokens = [*made_of.tokens[:-1], "\u2581\u2581"]
    plain = vocabulary(tokens=[*made_of.tokens[:-1], "  "])
    assert draft_errors(plain, dataclasses.replace(made_of, tokens=tokens)) == []
    assert len(draft_errors(plain, vocabulary(tokens=tokens))) == 1


def test_other_ids_of_roles_are_a_warning(vocabulary):
    warnings = draft_warnings(vocabulary(), vocabulary(eos_token_id=4, padding_token_id=None))
    assert warnings == ["eos is 1 in the draft and 4 in the target"]


@pytest.mark.parametrize("change", [{"tokens": None}, {"rows": None}])
def test_a_file_without_a_model(tmp_path, byte_level_tokenizer, change):
    path = write_gguf(tmp_path / "x.gguf", byte_level_tokenizer, **change)
    with pytest.raises(ValueError, match=r"x.gguf lacks tokenizer.ggml.tokens or token_embd"):
        read_vocabulary(path)


# the last three: within the head, most of the weights, half a number of the last one
@pytest.mark.parametrize("kept", [0, 6, 200, -1, -2, -3])
def test_a_damaged_file(tmp_path, byte_level_tokenizer, kept):
    path = write_gguf(tmp_path / "x.gguf", byte_level_tokenizer)
    whole = path.read_bytes()
    lost = {-1: 346 * 32 * 4 + 60, -2: 1000, -3: 1}
    path.write_bytes(whole[: len(whole) - lost[kept]] if kept < 0 else whole[:kept])
    with pytest.raises(ValueError, match=r"x.gguf (is not a GGUF|can't be read as GGUF)"):
        read_vocabulary(path)
