"""The project's own harnesses.

`bits_per_byte` compares models of different tokenizers on a text, `blimp` on pairs of sentences,
`gsm8k` on problems with a number as an answer, and `compare` a student with its teacher, chunk by
chunk. `generate` continues prompts.
"""
