"""A teacher behind an OpenAI-compatible completions endpoint, which scores what it is sent.

`scorer.ServerScorer` takes the place of a model; `settings` says which endpoint, `client` asks it,
and `dialects` are the ways in which servers return log-probabilities of a prompt (`answers`).
`boundary` estimates what no endpoint returns: the mass on all boundary tokens.
"""
