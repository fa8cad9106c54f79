"""What a fault is, and where its text stands."""

from dataclasses import dataclass
from pathlib import Path


class Stale(Exception):
    """A fault whose text is not in its file exactly once, or whose tests are gone: it was written for other code."""


@dataclass(frozen=True)
class Fault:
    """One small mistake in the code that a test must notice.

    Attributes:
        name: of the fault, for the command line.
        file: relative to the root of the checkout.
        what: what is wrong then, as a sentence for people.
        old: text that stands in the file exactly once.
        new: text that takes its place.
        tests: arguments of pytest: the file, or the tests, that must fail.
    """

    name: str
    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, root: Path) -> str:
        """Return the content of the file with the fault in it.

        Raises:
            Stale: where the file is gone, the text is not in it exactly once, or a test is gone.
        """
        path = root / self.file
        content = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (count := content.count(self.old)) != 1:
            raise Stale(f"{self.name}: its text stands {count} times in {self.file}")
        for test in self.tests:
            file, _, function = test.partition("::")
            if not (root / file).exists() or (f"def {function}(" not in (root / file).read_text() and function):
                raise Stale(f"{self.name}: there is no test {test}")
        return content.replace(self.old, self.new)
