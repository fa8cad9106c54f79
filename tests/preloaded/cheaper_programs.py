"""What makes the programs cheaper that the fork server forks for the tests; programs that are not forked know nothing of it.

They copy an MLflow database, whose tables take a second to make, and score few noise images for the score's upper
reference, as each test has its own records and with them an empty cache.
"""

import os
import shutil
from pathlib import Path
from uuid import uuid4

from experiments.tracking import connection
from experiments.tracking.relocation import own_default_experiment
from gan.evaluation import scorer

VARIABLE = "TESTS_MLFLOW_DATABASE"  # the file to copy; where it is not set, databases are made
make_database = connection._make_database


def copy_database(file: Path) -> None:
    if VARIABLE not in os.environ:
        make_database(file)
        return
    made = file.parent / f"{connection.UNFINISHED}{uuid4().hex}.db"
    shutil.copy(os.environ[VARIABLE], made)
    own_default_experiment(made)
    made.replace(file)


connection._make_database = copy_database
scorer.NOISE_IMAGES = 64
