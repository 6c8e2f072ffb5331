"""Continuations of prompts.

`texts.generate_texts` continues a batch of prompts by any model or ensemble, and reports pieces of
text while they are generated. `sampling` chooses the next token, `spelling` turns tokens into whole
characters, and `prompts` reads prompts and chats.
"""
