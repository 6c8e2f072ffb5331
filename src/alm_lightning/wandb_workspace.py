"""A W&B workspace and report of the runs: `python -m alm_lightning.wandb_workspace --help`."""

from alm_lightning.app.commands.workspace import main

if __name__ == "__main__":
    main()
