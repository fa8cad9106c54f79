"""What of a run's journal was delivered, to be compared with what the store still has."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.records import journal


@dataclass
class Delivered:
    """The part of a journal up to an offset."""

    metrics: set[str] = field(default_factory=set)
    newest: tuple[str, int] | None = None  # the last point's metric and step
    images: set[tuple[str, int]] = field(default_factory=set)  # key and step
    files: set[str] = field(default_factory=set)  # artifacts, by their paths
    models: set[int] = field(default_factory=set)  # times of their records
    champion_of: set[str] = field(default_factory=set)  # names of registered models

    @classmethod
    def of(cls, file: Path, offset: int, refused: Iterable[journal.Record]) -> "Delivered":
        """Read a journal up to an offset, without the records that the store refused. Raises ConfigError."""
        found = cls()
        missing = [{key: value for key, value in record.items() if key != "refused"} for record in refused]
        for record, end in journal.read(file, 0):
            if end > offset:
                break
            if record not in missing:
                found._add(record)
        return found

    def _add(self, record: journal.Record) -> None:
        for key in record.get("scalars", {}):
            self.metrics.add(key)
            self.newest = (key, record["step"])
        if "image" in record:
            self.images.add((record["image"], record["step"]))
        elif "artifact" in record:
            self.files.add(record["artifact"])
        elif "model" in record:
            self.models.add(record["time"])
        elif "champion" in record:
            self.champion_of.add(record["champion"])
