"""The byte tokenizer: 256 bytes and special tokens.

`view.byte_view` is its view, and `fast.byte_tokenizer` the same as a stock fast tokenizer, for
exported folders.
"""
