"""Evaluation: what a model can do, in figures with standard errors, and in generated text.

A harness has items, a record for each, and figures of them all (`harness.Harness`); `suites` has
the project's own and `lm_eval` EleutherAI's. `ensemble` combines models, `generation` continues
prompts, and `report` is an HTML page about a run. `store` keeps records, so that an evaluation
that was stopped can continue.
"""
