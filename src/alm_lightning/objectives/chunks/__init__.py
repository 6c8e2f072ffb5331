"""Which tokens belong to a chunk or a document, for objectives that look inside chunks.

`one_to_one` finds chunks of one token on both sides, `token_runs` the run of tokens of each chunk,
and `positions` the positions of chosen tokens in the flattened batch and the documents of its rows.
`byte_runs` finds the bytes that both sides spell, `token_bytes` what a model says of each of them.
"""
