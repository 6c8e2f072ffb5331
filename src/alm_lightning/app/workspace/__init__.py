"""A W&B workspace and a report of a project's runs, as code.

`panels` says which panels there are, over which metrics; `upload` makes them with W&B's package.
The first needs neither that package nor a network.
"""

from alm_lightning.app.workspace.panels import View, view_of

__all__ = ["View", "view_of"]
