"""Generators as MLflow's models: logged, registered, and named by aliases."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.tracking.connection import insert
from experiments.tracking.experiment import NOTE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

MODEL_NOTE = """Latents (N, {latent_dim}) float32, drawn from N(0, 1) -> images (N, 32, 32, 3) float32 in [-1, 1].

    latents = np.random.default_rng(0).standard_normal((16, {latent_dim}), np.float32)
    images = mlflow.pyfunc.load_model("models:/<model ID>").predict(latents)
"""
MODEL = "generator"
WON = "won"  # tag of a registered model: when its last winner won, in milliseconds
MODEL_VERSIONS = "mlflow.modelVersions"  # the tag that MLflow's own way of registering sets on a logged model
CHAMPION = "champion"  # the alias of a search's winner that was shown to be better than the search's start
CANDIDATE = "candidate"  # the alias of one that was not
ALIASES_NOTE = (
    "The alias `champion` is a winner that was better on fresh seeds, `candidate` one that was not shown to be."
)


def models_at(client: "MlflowClient", run_id: str, experiment_id: str, time: int) -> list[Any]:
    """Return the logged models of one record of a journal: more than one where a delivery broke off.

    Args:
        client: of the store.
        run_id: of MLflow.
        experiment_id: of the run's experiment.
        time: of the record, in milliseconds since 1970.
    """
    return [m for m in models_of(client, run_id, experiment_id) if m.tags.get("journal_time") == str(time)]


def is_whole(client: "MlflowClient", model: Any) -> bool:
    """Return whether a model was delivered to its end, and its files are there."""
    return str(model.status) == "READY" and bool(client.list_logged_model_artifacts(model.model_id))


def has_version(client: "MlflowClient", run_id: str, name: str) -> bool:
    """Return whether a registered model has a version of a run.

    Args:
        client: of the store.
        run_id: of MLflow.
        name: of the registered model.
    """
    return any(version.run_id == run_id for version in client.search_model_versions(f"name = '{name}'"))


def models_of(client: "MlflowClient", run_id: str, experiment_id: str) -> list[Any]:
    """Return the run's models, newest first.

    Args:
        client: of the store.
        run_id: of MLflow.
        experiment_id: of the run's experiment.
    """
    models = client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'")
    return sorted(models, key=lambda model: -int(model.creation_timestamp))


def register_version(
    client: "MlflowClient", run_id: str, experiment_id: str, name: str, alias: str, note: str, time: int
) -> None:
    """Register the newest model that the run had when it won, and give it an alias; nothing is made twice.

    A registered model has one of the two aliases at a time: the last winner's. A winner that is delivered after a later
    one gets a version but not the alias.

    Args:
        client: of the store.
        run_id: of MLflow.
        experiment_id: of the run's experiment.
        name: of the registered model, which is created if it is not there.
        alias: `champion` or `candidate`.
        note: the description of the version.
        time: when the run won, in milliseconds since 1970.

    Raises:
        ValueError: if the run has no such model.
    """
    # A run that was resumed since has others, which won nothing.
    models = [m for m in models_of(client, run_id, experiment_id) if int(m.tags.get("journal_time", 0)) <= time]
    if not models:
        raise ValueError("the run has no model of the time when it won")
    model = models[0]
    registered = insert(lambda: _find_or_create(client, name))
    source = f"models:/{model.model_id}"
    same_source = [version for version in client.search_model_versions(f"name = '{name}'") if version.source == source]
    version = (
        same_source[0] if same_source else client.create_model_version(name, source, run_id, model_id=model.model_id)
    )
    client.update_model_version(name, version.version, note)
    # The model's page says by this tag where it is registered; a server of MLflow's sets it itself.
    if MODEL_VERSIONS not in model.tags:
        versions = json.dumps([{"name": name, "version": version.version}])
        client.set_logged_model_tags(model.model_id, {MODEL_VERSIONS: versions})
    if int(registered.tags.get(WON, 0)) > time:  # a later winner was delivered before
        return
    client.set_registered_model_tag(name, WON, str(time))
    client.set_registered_model_alias(name, alias, version.version)
    client.delete_registered_model_alias(name, CANDIDATE if alias == CHAMPION else CHAMPION)


def _find_or_create(client: "MlflowClient", name: str) -> "RegisteredModel":
    known = client.search_registered_models(f"name = '{name}'")
    description = f"Winners of the search `{name}`. {ALIASES_NOTE}"
    return known[0] if known else client.create_registered_model(name, description=description)


def log_model(file: Path, run_id: str, experiment_id: str, time: int, step: int) -> None:
    """Log a generator as an MLflow model: latents (N, latent_dim) float32 -> images (N, 32, 32, 3) float32 in [-1, 1].

    Args:
        file: the saved generator, .keras.
        run_id: of MLflow.
        experiment_id: of the run's experiment.
        time: of the journal's record, in milliseconds since 1970; a tag of the model has it.
        step: of the run; the run's metrics at this step become the model's.
    """
    import keras
    import mlflow.tensorflow
    import tensorflow as tf
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    keras.config.disable_interactive_logging()  # MLflow tries the example with a progress bar
    mlflow.set_experiment(experiment_id=experiment_id)  # or the model goes to the default experiment
    model = keras.models.load_model(file, compile=False)
    latent_dim = model.input_shape[-1]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, latent_dim))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 32, 32, 3))]),
    )
    Model.log(
        artifact_path=None,
        name=MODEL,
        flavor=mlflow.tensorflow,
        run_id=run_id,
        step=step,
        tags={"journal_time": str(time), NOTE: MODEL_NOTE.format(latent_dim=latent_dim)},
        model=model,
        signature=signature,
        input_example=np.random.default_rng(0).standard_normal((2, latent_dim), np.float32),
        # Pinned here: MLflow would find them out in ten seconds of imports.
        pip_requirements=[f"keras=={keras.__version__}", f"tensorflow=={tf.__version__}", f"numpy=={np.__version__}"],
    )
