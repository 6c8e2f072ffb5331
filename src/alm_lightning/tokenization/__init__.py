"""Tokenizers: from text to ids, and from each id to the bytes that it stands for.

`load.load_tokenizer` takes a folder, a hub id, a tokenizer file or ``bytes``, and returns a
`view.TokenizerView`, which is all that the rest of the project knows of a tokenizer. `surface`
knows which bytes an id stands for, once per vocabulary; `rewrite` brings the token ends of
normalised text back onto the bytes of the given text.
"""
