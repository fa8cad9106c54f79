"""Results in CSV files, and pages that are filled with tables."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gan import metric_names
from gan.arrays import write_atomically
from gan.errors import ConfigError

Row = dict[str, str]

SCORES = (metric_names.FID, metric_names.KID, metric_names.DENSITY, metric_names.COVERAGE, metric_names.NN_DISTANCE)
RUNS = (
    "run", "preset", "class", "seed", "steps", "step", "outcome", *SCORES, "steps_per_second", "seconds",
    "settings", "fid_proxy_id", "dataset", "commit",
)  # fmt: skip
CURVES = ("run", "preset", "class", "seed", "steps", "step", metric_names.FID)


class Rows:
    """A small CSV file that holds what is done; each change is written at once, whole."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file, self._columns = file, columns
        self.all: list[Row] = []
        if file.exists():
            with open(file, encoding="utf-8", newline="") as stream:
                reader = csv.DictReader(stream)
                if tuple(reader.fieldnames or ()) != tuple(columns):
                    raise ConfigError("out", f"a folder whose {file.name} has this program's columns", str(file))
                self.all = list(reader)

    def keep(self, is_kept: Callable[[Row], bool]) -> None:
        """Forget the other rows; the next `add` removes them from the file."""
        self.all = [row for row in self.all if is_kept(row)]

    def add(self, rows: Iterable[Row]) -> None:
        self.all += rows
        write_csv(self.file, self._columns, sorted(self.all, key=lambda row: (row["run"], int(row["step"]))))


def write_csv(file: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a CSV file, whole or not at all.

    Args:
        file: to write; its folder is made.
        columns: in order.
        rows: a value by column; columns that a row lacks are empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.getvalue().encode())


def presets_of(rows: Sequence[Row]) -> list[str]:
    """Return the presets in the order of the rows."""
    return list(dict.fromkeys(row["preset"] for row in rows))


def fill(page: str, tables: dict[str, str]) -> str:
    """Return a Markdown page with new tables between `<!-- name -->` and `<!-- end -->`."""
    for name, table in tables.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = marked.sub(lambda match, table=table: f"{match[1]}{table}{match[2]}", page)  # type: ignore[misc]
    return page
