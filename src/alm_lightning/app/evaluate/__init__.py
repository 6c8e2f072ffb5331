"""The evaluation of models: what evaluate.py runs.

`command.evaluate` is the whole of it: `plan` resolves which models and ensembles are evaluated,
`build` makes the harnesses, and `table` shows the figures. Results are kept, and an evaluation
that was stopped goes on where it was.
"""
