"""Servers on loopback that are made for a test and gone after it: PostgreSQL (root runs it as another user), MLflow."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

USER = "gan"


def binaries() -> Path | None:
    """The folder with initdb and pg_ctl, if PostgreSQL is installed."""
    program = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    folders = [Path(program).parent, *folders] if program else folders
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A server that was made for this."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self.folder, self._bin, self.port = folder, bin, free_port()
        self.password = secrets.token_hex(8)
        words = folder / "password"
        words.write_text(self.password)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (folder, words):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb",
            "-D",
            folder / "data",
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            f"--pwfile={words}",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
        )

    def _run(self, program: str, *arguments: object) -> None:
        as_other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        command = [*as_other, str(self._bin / program), *map(str, arguments)]
        # Not captured: the server would hold the pipe open.
        with open(self.folder.with_suffix(".log"), "a") as log:
            subprocess.run(command, check=True, cwd=self.folder, stdout=log, stderr=log, timeout=120)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "server.log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", mode, "stop")

    def query(self, text: str, database: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg

        address = f"host=127.0.0.1 port={self.port} user={USER} password={self.password} dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def address(self, database: str, password: str | None = None) -> str:
        """For search.storage."""
        return f"postgresql+psycopg://{USER}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The address of a new, empty database."""
        name = f"d{secrets.token_hex(4)}"
        self.query(f"create database {name}")
        return self.address(name)


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    folder = binaries()
    assert folder is not None
    with tempfile.TemporaryDirectory(prefix="pg-") as place:
        os.chmod(place, 0o755)
        inner = Path(place) / "server"
        inner.mkdir()
        server = Postgres(inner, folder)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.stop("immediate")


@contextlib.contextmanager
def mlflow_server(folder: Path, database: str) -> Iterator[str]:
    """An MLflow server on a database, which keeps artifacts for its clients; its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "mlflow.log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "mlflow.log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        process.wait(30)
