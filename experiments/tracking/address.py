"""Where MLflow is: the server or database of MLFLOW_TRACKING_URI, or the database of the records."""

import os
import re
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from experiments import ROOT
from experiments.cli.overrides import as_text
from experiments.cli.paths import shown
from experiments.records.folders import Records, sqlite_uri
from experiments.tracking.ui_address import HOST, PORT, ui_address
from gan.errors import ConfigError, without_password

TRACKING_URI = "MLFLOW_TRACKING_URI"
SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
EXAMPLES = "http://host:5000, or sqlite:///mlflow.db; unset, runs go to the records' own database"


def tracking_uri(records: Records) -> str:
    """Return the address of the MLflow that a run goes to, the same whatever the working directory becomes.

    Raises:
        ConfigError: for an address that MLflow cannot use.
    """
    address = os.environ.get(TRACKING_URI, "").strip()
    return _checked(address) if address else database_uri(records)


def fix_tracking_uri() -> None:
    """Let a relative MLFLOW_TRACKING_URI mean one place for this process and its children. Raises ConfigError."""
    if address := os.environ.get(TRACKING_URI, "").strip():
        os.environ[TRACKING_URI] = _checked(address)


def database_uri(records: Records) -> str:
    """Return the address of the SQLite file under the records' root."""
    return sqlite_uri(records.database)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite address; None for a server or another database."""
    database = make_url(uri).database if uri.startswith("sqlite") else None
    return Path(database) if database else None


def serve_command(records: Records) -> str | None:
    """Return the command that serves the MLflow of some runs; None where a server does already."""
    uri = tracking_uri(records)
    file = sqlite_file(uri)
    is_here = shown(ROOT) == "."  # else the whole path: a page may be read anywhere
    make = "make ui" if is_here else f"make -C {shlex.quote(str(ROOT))} ui"
    if file == Records.at(None).database:
        return make
    if file == records.database:
        root = str(records.root)
        if re.fullmatch(r"[\w./+,:@-]+", root):
            return f"{make} RECORDS={root}"
        program = ("" if is_here else f"{ROOT}/") + "experiments/ui.py"
        return shlex.join(["python", program, as_text(f"records.root={root}")])  # make would read a $ in it
    if urlsplit(uri).scheme.partition("+")[0] in DATABASES:
        python = shlex.quote(sys.executable)
        quiet = "MLFLOW_DISABLE_TELEMETRY=true"
        return f"{quiet} {python} -m mlflow ui --backend-store-uri {in_shell(uri)} --port {PORT}"
    return None


def links_begin(records: Records) -> str | None:
    """Return how links into the UI begin: at the server, or where `serve_command` serves; None for other services."""
    uri = tracking_uri(records)
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme in SERVERS:
        return public(uri)
    if sqlite_file(uri) == records.database:
        return ui_address(records)
    return f"http://{HOST}:{PORT}" if scheme in DATABASES else None


def in_shell(uri: str) -> str:
    """Return the address of a database for a command line; one with a password is not spelt out."""
    return shlex.quote(uri) if sqlite_file(uri) is not None else f'"${TRACKING_URI}"'


def mlflow_command(records: Records, arguments: str) -> str:
    """Return a command of MLflow's own program on the store of some records, which it would not find by itself.

    Args:
        records: whose store.
        arguments: of the program.
    """
    place = "" if TRACKING_URI in os.environ else f"{TRACKING_URI}={in_shell(tracking_uri(records))} "
    return f"{place}mlflow {arguments}"


def public(text: str) -> str:
    """Return a text without the user and password of the URIs in it."""
    return re.sub(r"://[^/\s]*@", "://", without_password(text))


def _checked(address: str) -> str:
    """Return an address that MLflow can use, the file of an SQLite one absolute. Raises ConfigError."""
    kind = _kind(address)
    if kind == "sqlite":
        return _absolute(address)
    if kind in SERVERS:
        return address.rstrip("/")
    if kind in (*DATABASES, "databricks") or kind in {
        plugin.name for plugin in entry_points(group="mlflow.tracking_store")
    }:
        return address
    is_path = kind == "file" or (kind == "" and ":" not in address)
    without = "MLflow keeps no runs in plain files any more: " if is_path else ""
    raise ConfigError(TRACKING_URI, "the address of a server or a database", public(address), without + EXAMPLES)


def _kind(address: str) -> str | None:
    """Return an address's scheme, without a driver; None for a server's that cannot be one."""
    try:
        parts = urlsplit(address)
        if parts.scheme in SERVERS and (not parts.hostname or parts.port == 0):
            return None
    except ValueError:  # the host or the port is none
        return None
    return "databricks" if address == "databricks" else parts.scheme.partition("+")[0]


def _absolute(address: str) -> str:
    try:
        url = make_url(address)
        database = "" if url.host else url.database or ""
    except (SQLAlchemyError, ValueError):
        database = ""
    if database in ("", ":memory:") or database.startswith("file:"):
        raise ConfigError(
            TRACKING_URI, "an SQLite file", address, "sqlite:///mlflow.db, or sqlite:////folder/mlflow.db"
        )
    file = Path(database).expanduser().resolve()
    if file.is_dir():
        raise ConfigError(TRACKING_URI, "an SQLite file", address, f"{file} is a folder")
    _, mark, options = address.partition("?")
    return sqlite_uri(file) + mark + options
