"""`python -m alm_lightning.app.train`: the same as alm-train."""

from alm_lightning.app.programs import alm_train

if __name__ == "__main__":
    alm_train()
