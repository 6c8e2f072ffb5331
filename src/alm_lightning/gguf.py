"""A model as a GGUF file for llama.cpp: `python -m alm_lightning.gguf --help`."""

from alm_lightning.app.commands.gguf import main

if __name__ == "__main__":
    main()
