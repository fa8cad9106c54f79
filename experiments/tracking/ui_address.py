"""Where a browser finds the records: `make ui` serves them at the port that it last served them at."""

import contextlib

from experiments.records.folders import Records, read_json, write_json

HOST = "127.0.0.1"
PORT = 5000  # MLflow's own


def last_port(records: Records) -> int:
    """Return the port that the records were last served at, 5000 before the first time."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # never served, or the note of it is damaged
        return int(read_json(records.root / "ui.json")["port"])
    return PORT


def remember_port(records: Records, port: int) -> None:
    """Note the port that the records are served at."""
    write_json(records.root / "ui.json", {"port": port})


def ui_address(records: Records) -> str:
    """Return the beginning of links into the UI: scheme, host and port."""
    return f"http://{HOST}:{last_port(records)}"
