"""The programs: the only packages that know Hydra.

`train`, `evaluate` and `bakeoff` are what train.py and evaluate.py run. `commands` has the two
programs without Hydra, and `hydra` the callbacks of runs and sweeps. Errors that a user can act on
are shown without a traceback (`errors.explained`).
"""
