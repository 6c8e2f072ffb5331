"""A whole distillation, from models and text to a trained student: the library.

`run.run` does a run; `Plan` is what it is made of: `models.PairPlan` and `data.DataPlan`, an
objective, an optimizer and a trainer. The command line makes a plan from its configuration, and
`alm_lightning.distill` from its arguments. `figures` and `export` make numbers and a folder of the
result.
"""
