"""Examples in docstrings are run; of these modules only where what they need is installed."""

from importlib.util import find_spec

collect_ignore = []
if find_spec("triton") is None:
    collect_ignore.append("alm_lightning/likelihood/elementwise/kernels.py")
