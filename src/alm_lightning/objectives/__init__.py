"""Objectives: from the signal of both models to a loss.

An `objective.Objective` returns a sum and its weight, and says what it needs. `alm`, `alm_hybrid`,
`hidden_states` and `next_token` are the project's own; `baselines` has the rivals. `divergence`
holds the formulas as pure functions, and `combine` balances several terms.
"""
