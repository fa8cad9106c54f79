"""What MLflow's UI shows of the experiment: its description, and a view of the list of runs."""

import json
from collections.abc import Sequence
from time import time_ns
from typing import TYPE_CHECKING

from experiments.settings.rules import describe
from experiments.settings.schema import FOLLOWS, FREE_KEYS, Config
from gan import metric_names

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"  # the tag that the UI shows as a description
# The UI shows the first line, and the rest on a click.
EXPERIMENT_NOTE = f"""GANs. `{metric_names.FID_PROXY}`: lower is better; compare runs with the same `fid_proxy_id`, image count and \
`dataset_sha256`.

*Scores* among the *Views* is the list by score, with the settings that differ. *Group by* `settings_group` shows means over seeds. Runs are made by `python experiments/run.py`, studies by
`python sweeps/optuna_search.py`; a study's trials are below it. `{metric_names.FINAL_FID_PROXY}` is of more images, at the end.
"""
VIEW = "scores"  # the UI's name for the saved view
EXPERIMENT = "gan"  # that runs go to by default
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
SCORE_COLUMN = f"metrics.`{metric_names.FINAL_FID_PROXY}`"  # that the list is sorted by
SETTING_COLUMNS = 6  # of the view, at most
# Where none differ.
DEFAULT_COLUMNS = ("model.bn_momentum", "model.leaky_relu_alpha", "train.label_noise", "optim.learning_rate")
LOOKED_AT = 200  # the newest runs, whose settings are compared


def experiment_tags(settings: Sequence[str]) -> dict[str, str]:
    """Return what the UI shows of the experiment.

    Args:
        settings: columns of the list of runs.
    """
    columns = [SCORE_COLUMN, f"metrics.`{metric_names.FID_PROXY}`", *(f"params.`{key}`" for key in settings)]
    view = {
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", *columns, "runDateAndNestInfo", "duration"],
        "orderByKey": SCORE_COLUMN,
        "orderByAsc": True,
    }
    saved = {"name": VIEW.capitalize(), "createdAt": time_ns() // 1_000_000, "state": json.dumps(view)}
    return {
        "mlflow.experimentKind": "custom_model_development",
        NOTE: EXPERIMENT_NOTE,
        VIEW_TAG: json.dumps(saved),
    }


def differing_settings(client: "MlflowClient", experiment_id: str) -> list[str]:
    """Return the settings that differ among the newest runs: those with the most values first."""
    runs = client.search_runs([experiment_id], max_results=LOOKED_AT)
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.data.params.items():
            values.setdefault(key, set()).add(value)
    keys = [key for key in describe(Config) if key not in FREE_KEYS and key not in FOLLOWS]
    several = [key for key in keys if len(values.get(key, ())) > 1]
    return sorted(several, key=lambda key: -len(values[key]))[:SETTING_COLUMNS] or list(DEFAULT_COLUMNS)
