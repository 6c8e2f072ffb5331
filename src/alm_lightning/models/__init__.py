"""Models: loading, new embeddings, byte inputs, adapters, and the pair of student and teacher.

`loading` loads a model of transformers and checks that its tokenizer fits. `transfer` gives a
model another tokenizer, with embeddings from `embeddings`; `bytes` makes it read bytes. `weights`
finds weights: in a folder, on the hub, or inside packages. `pair.Scorer` turns a batch into one
model's side of the signal.
"""
