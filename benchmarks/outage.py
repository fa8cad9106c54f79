"""What a tracking server costs a training that it fails: updates a second beside one without any tracking.

    python benchmarks/outage.py [rounds=8]      (some six minutes on two cores)

The same training five times, in turns of five seconds: without tracking; into the SQLite
file; at a server that is absent; at one that takes requests and never answers; at one
that answers each with an error. Ratios are of turns within a round, medians over rounds.
"""

import http.server
import logging
import socket
import sys
import tempfile
import threading
from statistics import median

from arguments import arguments
from rich.console import Console
from rich.table import Table
from turns import Runner, say

HOST = "127.0.0.1"
FOREVER = 10**6


class Errors(http.server.BaseHTTPRequestHandler):
    """Answers every request with status 500."""

    def _any(self) -> None:
        self.send_error(500)

    do_GET = do_POST = do_PUT = do_PATCH = _any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def serve_errors() -> str:
    server = http.server.ThreadingHTTPServer((HOST, 0), Errors)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{HOST}:{server.server_address[1]}"


def serve_silence() -> tuple[str, socket.socket]:
    """Serve nothing: the system accepts connections, and nobody ever reads from them."""
    silent = socket.create_server((HOST, 0), backlog=1000)
    return f"http://{HOST}:{silent.getsockname()[1]}", silent


class Calls:
    """A `gan.tracker.Tracker` that says how many updates each call made."""

    def __init__(self) -> None:
        self._step = 0

    def scalars(self, step: int, values: object) -> None:
        pass

    def image(self, step: int, key: str, pixels: object) -> None:
        pass

    def tick(self, step: int) -> None:
        say(f"updated {step - self._step}" if self._step else f"started {step}")
        self._step = step


def child(folder: str, tracking: str) -> None:
    from experiments.cli.compose import compose_config
    from experiments.cli.stderr import native_stderr_to
    from experiments.tracking.feeder import Feeder
    from experiments.training.start import new_run
    from experiments.training.train import train

    logging.getLogger("experiments").setLevel(logging.CRITICAL)  # that the server is away is the point
    if tracking == "none":
        Feeder.start = lambda self: None  # type: ignore[method-assign]
    settings = ["data=embedded", f"train.steps={FOREVER}", f"eval.every_steps={FOREVER}", f"records.root={folder}"]
    with native_stderr_to():
        run = new_run(compose_config(settings), None, settings, Console(quiet=True))
        with run.folder.owned():
            train(run, Console(quiet=True), trackers=[Calls()])


def main(rounds: int) -> None:
    silent, kept = serve_silence()
    places = {
        "no tracking": ("none", {}),
        "SQLite file": ("on", {}),
        "absent server": ("on", {"MLFLOW_TRACKING_URI": f"http://{HOST}:9"}),
        "server that never answers": ("on", {"MLFLOW_TRACKING_URI": silent}),
        "server that answers with errors": ("on", {"MLFLOW_TRACKING_URI": serve_errors()}),
    }
    with tempfile.TemporaryDirectory() as root:
        runners = {
            name: Runner([__file__, f"{root}/{k}", tracking], **environment)
            for k, (name, (tracking, environment)) in enumerate(places.items())
        }
        rates: dict[str, list[float]] = {name: [] for name in places}
        try:
            for turn in range(-1, rounds):  # the first is to warm up
                for name, runner in runners.items():
                    updates, seconds = runner.updates, runner.seconds
                    said = runner.turn()
                    assert said is None, said
                    if turn >= 0:
                        rates[name].append((runner.updates - updates) / (runner.seconds - seconds))
        finally:
            for runner in runners.values():
                runner.close()
    kept.close()
    table = Table("tracking into", "updates a second", "of those without tracking")
    for name, speeds in rates.items():
        fractions = [rate / none for rate, none in zip(speeds, rates["no tracking"], strict=True)]
        extremes = f"{min(fractions):.3f} to {max(fractions):.3f}"
        table.add_row(name, f"{median(speeds):.2f}", f"{median(fractions):.3f} ({extremes})")
    Console(width=120).print(table)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], sys.argv[2])
    else:
        main(**arguments(rounds=8))
