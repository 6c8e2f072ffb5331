"""The training of a student, as train.py and alm-train run it.

`command.train` is the whole of it. `build` makes the plan of a run (see `distillation`) from the
configuration, `checks` refuses what can't work before anything is read, and `report` and `results`
make what is shown and written at the end.
"""
