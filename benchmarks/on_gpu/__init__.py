"""Parts of the benchmarks that are to run on a GPU, for the few minutes that one is at hand."""
