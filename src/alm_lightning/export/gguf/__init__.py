"""Export to llama.cpp: its own converter is run, and what it wrote is checked.

`converter` finds and runs it; `vocabulary` reads what an engine sees of a model's vocabulary, and
`agreement` says where two of those differ.
"""
