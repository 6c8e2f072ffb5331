"""Bytes: the byte tokenizer, and the bytes of a whole vocabulary.

`view.byte_view` is a tokenizer of 256 bytes and special tokens, and `fast` the same as a stock
fast tokenizer. `table.ByteTable` holds the bytes of every token of any tokenizer in arrays, and
`validation` checks it on awkward texts.
"""
