"""Parts of `benchmarks/next_byte_end.py`."""
