"""The page of a sweep, written again: `python -m alm_lightning.sweep_page --help`."""

from alm_lightning.app.commands.sweep_page import main

if __name__ == "__main__":
    main()
