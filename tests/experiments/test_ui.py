"""What make ui starts; tests/ui looks at its pages."""

import contextlib
import shlex
import shutil
import signal
import socket
import sqlite3
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from experiments import ui
from experiments.cli.arguments import parse_arguments
from experiments.records.folders import Records
from experiments.settings.schema import RecordsConfig
from experiments.tracking.address import links_begin, serve_command
from experiments.tracking.delivery import Delivery
from experiments.tracking.ui_address import remember_port, ui_address
from gan.errors import ConfigError


def test_a_port_in_use_is_said_before_the_address(tmp_path: Path) -> None:
    root = tmp_path / "records"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = rf"port must be a free port; got {port} \(.*make ui PORT={port + 1}"
        with pytest.raises(ConfigError, match=words):
            ui.main(ui.Ui(port, RecordsConfig(str(root))))
        remember_port(Records(tmp_path), port)  # the one that is taken by default
        with pytest.raises(ConfigError, match=words):
            ui.main(ui.Ui(None, RecordsConfig(str(tmp_path))))
    assert not root.exists()
    ui.check_port(port)


def test_links_go_to_the_port_that_was_last_served(tmp_path: Path) -> None:
    records = Records(tmp_path)
    folder = records.new_run("x", None)
    folder.delivery.write_text('{"stores": {}}')
    delivery = Delivery(folder)
    delivery._state |= {"run_id": "5e", "experiment_id": "1"}
    assert ui_address(records) == "http://127.0.0.1:5000"
    for port in (5071, 5072):
        remember_port(records, port)
        assert ui_address(records) == f"http://127.0.0.1:{port}"
        assert str(delivery.url).startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs/5e")
    (tmp_path / "ui.json").write_text("{damaged")
    assert ui_address(records) == "http://127.0.0.1:5000"


def test_links_go_where_the_command_that_is_named_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path)
    remember_port(records, 5071)  # of their own database
    for uri, server, command in (
        (
            "postgresql://me:secret@host/db",
            "http://127.0.0.1:5000",
            '--backend-store-uri "$MLFLOW_TRACKING_URI" --port 5000',
        ),
        (
            f"sqlite:///{tmp_path}/other.db",
            "http://127.0.0.1:5000",
            f"--backend-store-uri sqlite:///{tmp_path}/other.db",
        ),
        (f"sqlite:///{records.database}", "http://127.0.0.1:5071", f"make ui RECORDS={tmp_path}"),
        ("https://me:secret@host:5001", "https://host:5001", None),
        ("databricks", None, None),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert links_begin(records) == server
        words = serve_command(records)
        assert (command is None and words is None) or str(command) in str(words)


def test_the_command_holds_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert serve_command(Records.at(None)) == f"make -C {shlex.quote(str(ROOT))} ui"
    assert serve_command(Records(tmp_path)) == f"make -C {shlex.quote(str(ROOT))} ui RECORDS={tmp_path}"
    assert shlex.split(str(serve_command(Records(tmp_path / "$x"))))[1] == str(ROOT / "experiments" / "ui.py")


def test_make_is_not_given_a_path_that_it_would_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = str(serve_command(Records(tmp_path / "it's $HOME")))
    program, argument = shlex.split(words)[1:]
    assert program == "experiments/ui.py"
    assert parse_arguments(ui.Ui, [argument]).records.root == str(tmp_path / "it's $HOME")


@pytest.mark.parametrize("number", [signal.SIGINT, None])
def test_its_log_stays_in_a_file_and_an_interrupt_is_one_word(
    number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a server that answers at once, and logs as MLflow's does; or ends by itself."""
    program = tmp_path / "server.py"
    program.write_text(SERVER if number else "print('no such table')")
    monkeypatch.setattr(ui, "SERVER", [sys.executable, str(program)])
    monkeypatch.setattr(ui, "open_store", lambda records: "/#/experiments")
    if number is not None:
        monkeypatch.setattr(ui, "_say", lambda *_: signal.raise_signal(number))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = signal.getsignal(signal.SIGINT)
    code = ui.main(ui.Ui(port, RecordsConfig(str(tmp_path))))
    out, err = capsys.readouterr()
    log = (tmp_path / "ui.log").read_text()
    if number is None:
        assert (code, log) == (1, "no such table\n")
        assert err.endswith(f"error: MLflow did not start: no such table (all of it: {tmp_path / 'ui.log'})\n")
        assert ui_address(Records(tmp_path)) == "http://127.0.0.1:5000"
    else:
        assert (code, out.splitlines()[-1]) == (0, "stopped")
        assert "GET /health" in log
        assert "'--host', '127.0.0.1'" in log  # for this machine alone
        assert ui_address(Records(tmp_path)) == f"http://127.0.0.1:{port}"
    assert signal.getsignal(signal.SIGINT) == before


def test_a_database_that_mlflow_cannot_open_is_one_line(
    tmp_path: Path, mlflow_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Records(tmp_path).database
    shutil.copy(mlflow_database, file)
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'abc'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert ui.main(ui.Ui(port, RecordsConfig(str(tmp_path)))) == 1
    remedy = f"its tables are of another version of MLflow; after a backup: mlflow db upgrade sqlite:///{file}"
    assert capsys.readouterr().err == f"error: {file} cannot be served: {remedy}\n"
    file.write_text("no database")
    assert ui.main(ui.Ui(port, RecordsConfig(str(tmp_path)))) == 1
    assert capsys.readouterr().err == f"error: {file} cannot be served: file is not a database\n"


SERVER = """
import sys
print(sys.argv, flush=True)
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
