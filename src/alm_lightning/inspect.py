"""Two tokenizations and their chunks, drawn: `python -m alm_lightning.inspect --help`."""

from alm_lightning.app.commands.inspect import main

if __name__ == "__main__":
    main()
