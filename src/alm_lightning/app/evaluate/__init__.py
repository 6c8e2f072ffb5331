"""The evaluation of models: what evaluate.py runs.

`command.evaluate` is the whole of it. `plan` resolves the configuration once: models and ensembles
(`models`, `fit`), and harnesses (`harnesses`, `run`). `table` shows the figures. Results are
stored, and an evaluation that was stopped can be continued.
"""
