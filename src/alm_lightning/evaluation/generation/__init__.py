"""Continuations of prompts: token by token as a stream, or many prompts in a batch.

`stream.pieces` yields text while it is generated, and `until.generate_until` continues a batch of
prompts up to a stop text. `sampling` says how the next token is chosen, and `prompts` reads them.
"""
