"""What the displays of a search and of its confirmation share: a live area on a terminal, plain lines elsewhere."""

from abc import ABC, abstractmethod
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from experiments.cli.progress import is_live


class LiveDisplay(ABC):
    """A context manager that keeps the last lines of a terminal up to date. Without a terminal it shows nothing.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if is_live(console) else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def refresh(self) -> None:
        """Draw the live area again."""
        if self._live is not None:
            self._live.update(self._live_area())

    @abstractmethod
    def _live_area(self) -> RenderableType:
        """Return what the live area shows now."""
