"""An MLflow server, and a proxy before it that misbehaves on demand."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """MLflow, with proxied artifacts, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        folder.mkdir()

    def start(self) -> None:
        command = [
            str(Path(sys.executable).with_name("mlflow")), "server", "--host", HOST, "--port", str(self.port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
            "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip
        with open(self._folder / "log", "a") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self.port}/health", timeout=2):
                    return
            except OSError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
                time.sleep(0.2)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Proxy:
    """Passes requests on, or does what `mode` says.

    up. refuse: hang up. error: answer 503, pass nothing on. lost: pass it on and hang up.
    slow: wait before passing it on.
    """

    def __init__(self, port: int) -> None:
        self.mode = "up"
        self.requests = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                if proxy.mode == "refuse":
                    self.close_connection = True
                    return
                super().handle_one_request()

            def _any(self) -> None:
                proxy.requests += 1
                mode, length = proxy.mode, int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if mode == "error":
                    self._answer(503, b"out of order", {})
                    return
                if mode == "slow":
                    time.sleep(1.5)
                connection = http.client.HTTPConnection(HOST, port, timeout=60)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    content = answer.read()
                except OSError:  # the server behind is dead
                    self.close_connection = True
                    return
                finally:
                    connection.close()
                if mode in ("lost", "refuse"):
                    self.close_connection = True
                    return
                self._answer(answer.status, content, dict(answer.getheaders()))

            def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the other side hung up
                    return

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://{HOST}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
