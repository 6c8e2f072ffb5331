"""`python -m alm_lightning.app.evaluate model=PATH`: the same as alm-evaluate."""

from alm_lightning.app.programs import alm_evaluate

if __name__ == "__main__":
    alm_evaluate()
