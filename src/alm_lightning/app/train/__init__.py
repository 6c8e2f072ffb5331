"""The training of a student: what train.py runs.

`command.train` is the whole of it. `data` and `build` make what the configuration names, `checks`
refuses what can't work before the first step, and `report` and `results` write what a run leaves
in its folder.
"""
