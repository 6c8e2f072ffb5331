"""Export: a folder that `AutoModelForCausalLM` and `AutoTokenizer` of transformers load.

`folder.export_folder` writes it, and `card` the model card that says how the model was made.
"""
