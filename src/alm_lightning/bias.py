"""Bias statistics of a pair of tokenizers: `python -m alm_lightning.bias --help`."""

from alm_lightning.app.commands.bias import main

if __name__ == "__main__":
    main()
