"""Log-likelihoods: from hidden states and an output matrix to what objectives see.

`linear.linear_log_likelihood` never builds the whole logits. `chunks` sums log-likelihoods by
chunk, `score` makes one model's `ModelSignal` of them, and `distributions` gives objectives whole
distributions, in slices, where they ask for them.
"""
