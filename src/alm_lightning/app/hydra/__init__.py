"""What Hydra calls: callbacks of runs and sweeps, and how overrides are quoted.

`callbacks` gives each run a folder of its own and writes the table of a sweep. `quoting` writes a
value so that Hydra reads the same value.
"""
