"""Importing this module imports all that deliveries to MLflow need, sooner or later: see experiments/training/preload.py."""

from experiments.tracking.connection import import_mlflow

import_mlflow()

import alembic.command
import git
import mlflow.pyfunc
import mlflow.store.tracking.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_workspace_store
import mlflow.tensorflow
import mlflow.tracing.processor.otel
import sqlalchemy.dialects.sqlite
