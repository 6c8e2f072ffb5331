"""Bake-offs: the same training for several objectives, models and seeds, and one table of all.

`command.bakeoff` is what `train.py sweep=bakeoff` calls. `plan` says which runs there are, `runs`
makes them, `state` reads what is on disk, and `table` and `plot` show it. A bake-off that was
stopped goes on where it was.
"""
