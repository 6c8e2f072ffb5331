"""Which tokens and documents belong to a chunk, for objectives that look inside chunks.

`one_to_one` finds chunks of one token on both sides, `token_runs` the run of tokens of each chunk,
and `documents` the documents of a packed row.
"""
