"""A teacher's scores of a corpus, written to a store: `python -m alm_lightning.score --help`."""

from alm_lightning.app.programs import alm_score

if __name__ == "__main__":
    alm_score()
