"""Serve MLflow on the records, until Ctrl-C: what make ui does.

    python experiments/ui.py [port=5001] [records.root=<folder>]

The server's own log is ui.log in the records. The links that runs print go to the port that
their records were last served at.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.entry import FAILED
from experiments.cli.paths import shown
from experiments.cli.progress import Output, say, stage
from experiments.cli.signals import first_collected
from experiments.records.folders import Records
from experiments.reports.index import file_of, refresh
from experiments.settings.rules import Interval, setting
from experiments.settings.schema import RecordsConfig
from experiments.tracking.address import database_uri
from experiments.tracking.connection import open_store
from experiments.tracking.sync import reason
from experiments.tracking.ui_address import HOST, last_port, remember_port
from gan.errors import ConfigError, first_line

START_SECONDS = 120.0  # for the server to answer
END_SECONDS = 5.0  # for it to end in order
POLL = 0.1
SERVER = [sys.executable, "-m", "mlflow", "server"]
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass
class Ui:
    port: int | None = setting(
        None, "port to serve at; by default the last one, 5000 before the first time", Interval(1, 65535)
    )
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Ui) -> int:
    records = Records.at(args.records.root)
    port = args.port if args.port is not None else last_port(records)
    check_port(port)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # a server elsewhere shows itself
    console = Output(highlight=False, soft_wrap=True, markup=False)
    log = records.root / "ui.log"
    with first_collected() as caught:
        with stage(console, f"starting MLflow on {shown(records.root)}"):
            try:
                place = open_store(records)
            except (ConfigError, OSError):
                raise
            except Exception as error:  # whatever MLflow or its database raise
                return _failed(f"{shown(records.database)} cannot be served: {reason(error, records)}")
            refresh(records, console)
        with _server(records, port, log) as server:
            if not _answers(server, port, caught):
                if caught:
                    return 0
                return _failed(f"MLflow did not start: {_last_line(log)} (all of it: {shown(log)})")
            remember_port(records, port)
            _say(console, records, port, place, log)
            while server.poll() is None and not caught:
                time.sleep(POLL)
        if not caught:
            return _failed(f"MLflow ended: {_last_line(log)} (all of it: {shown(log)})")
    console.print("stopped")
    return 0


def _failed(problem: str) -> int:
    """Print why the server is not there, and return the exit code."""
    print(f"error: {problem}", file=sys.stderr)
    return FAILED


def check_port(port: int) -> None:
    """Raise ConfigError for a port that no server can listen at."""
    try:
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            free.bind((HOST, port))
    except OSError as error:
        other = port + 1 if port < 65535 else port - 1
        remedy = f"{error.strerror or first_line(error)}; make ui PORT={other} takes another"
        raise ConfigError("port", "a free port", port, remedy) from error


@contextmanager
def _server(records: Records, port: int, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run MLflow's server, apart from this terminal and its Ctrl-C, which would end it in tracebacks."""
    options = ["--backend-store-uri", database_uri(records), "--host", HOST, "--port", str(port), "--workers", "1"]
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [*SERVER, *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the server and the workers that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(END_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _answers(process: "subprocess.Popen[bytes]", port: int, caught: list[int]) -> bool:
    """Wait until the server does; False if it ends before, or is to."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know this machine
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and not caught and time.monotonic() < deadline:
        try:
            with direct.open(f"http://{HOST}:{port}/health", timeout=1):
                return True
        except OSError:
            time.sleep(POLL)
    return False


def _say(console: Console, records: Records, port: int, place: str, log: Path) -> None:
    if file_of(records).exists():  # not before there is a run
        say(console, f"index      {file_of(records).as_uri()}")
    if not records.all_runs():
        console.print(f"no runs:   none in {shown(records.root)} yet; python experiments/run.py trains one")
    console.print(f"all runs:  http://{HOST}:{port}{place}")
    console.print(f"           links that runs print go there from now on; log: {shown(log)}; Ctrl-C ends it")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


if __name__ == "__main__":
    entry.run(with_arguments(Ui, main, __doc__))
