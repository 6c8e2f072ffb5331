"""EleutherAI's lm-eval as a harness: any task of it, on any model or ensemble of this project.

`harness.LmEval` is the harness, `model` what lm-eval sees of a model, and `tasks` finds the tasks.
The package lm-eval is optional: `pip install 'alm-lightning[eval]'`.
"""
