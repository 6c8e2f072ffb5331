"""Tokenizer files of five kinds, read as fast tokenizers of transformers.

`gguf_tokenizer`, `sentencepiece_model`, `tiktoken_ranks` and `pretrained` read one kind each;
`byte_level`, `patterns` and `merges` are the parts of which a byte-level BPE is built.
"""
