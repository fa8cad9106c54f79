"""What of a run's journal was delivered, to be compared with what the store still has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.records import journal
from experiments.records.journal import Artifact, Image, Model, Scalars, Winner


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
    def of(cls, file: Path, offset: int, refused: Iterable[Mapping[str, Any]]) -> "Delivered":
        """Read a journal up to an offset, without the records that the store refused.

        Args:
            file: the journal.
            offset: in bytes, up to which it was delivered.
            refused: records of the journal, as their lines have them.

        Raises:
            ConfigError: for a damaged record before the offset.
        """
        delivered = cls()
        missing = [journal.from_json(line) for line in refused]
        for record, end in journal.read(file, 0):
            if end > offset:
                break
            if record not in missing:
                delivered._add(record)
        return delivered

    def _add(self, record: journal.Record) -> None:
        match record:
            case Scalars(_, step, values):
                self.metrics |= values.keys()
                self.newest = (next(reversed(values)), step)
            case Image(_, step, key):
                self.images.add((key, step))
            case Artifact(_, file):
                self.files.add(file)
            case Model(time):
                self.models.add(time)
            case Winner(_, name):
                self.champion_of.add(name)
