"""Do the tests notice mistakes? Each fault is put into a copy of the code, and the tests that should fail are run on it.

    python tests/mutants                    all faults (make mutants), half an hour on two cores
    python tests/mutants r1-half fid-trace  these alone
    python tests/mutants --list             what there is; says whether each fault still fits the code
    python tests/mutants --markdown         the table of docs/testing.md

A fault is caught if a test fails on it. A test that cannot be collected or set up says nothing: the fault is BROKEN. One
whose text is not in its file exactly once is STALE. Only tests that `make test` runs count, not those marked slow.

The exit code is 1 if any fault is stale, or more than 1 of 40 is not caught.
"""

import argparse
import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import faults_experiments
import faults_gan
import faults_sweeps
from fault import Fault, Stale

ROOT = Path(__file__).resolve().parents[2]
FAULTS = (*faults_gan.FAULTS, *faults_experiments.FAULTS, *faults_sweeps.FAULTS)
PYTEST = [sys.executable, "-m", "pytest", "-m", "not slow", "-x", "-q", "-p", "no:cacheprovider"]
SECONDS = 600.0  # that the tests of one fault may take
TESTS_FAILED = 1  # exit code of pytest's; others say that it could not run them
CAUGHT, MISSED, BROKEN, STALE = "caught", "MISSED", "BROKEN", "STALE"


@dataclass(frozen=True)
class Result:
    """What the tests said of a fault.

    Attributes:
        fault: that was in the code.
        word: caught, MISSED, BROKEN or STALE.
        by: the test that failed; of a fault that was not caught, why.
        seconds: that it took.
    """

    fault: Fault
    word: str
    by: str
    seconds: float


class Trials:
    """Tries faults, some at a time, each on a copy of the tracked files that nothing else uses meanwhile.

    Args:
        faults: to be tried.
        folder: where the copies go.
        workers: how many copies there are.
    """

    def __init__(self, faults: Sequence[Fault], folder: Path, workers: int) -> None:
        self._waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
        for fault in faults:
            self._waiting.put(fault)
        self._results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False
        copies = [folder / str(number) for number in range(workers)]
        self._threads = [threading.Thread(target=self._work, args=(copy,)) for copy in copies]

    def run(self) -> Iterator[Result]:
        """Yield a result for each fault as it comes."""
        for thread in self._threads:
            thread.start()
        try:
            for _ in self._threads:
                yield from iter(self._results.get, None)
        finally:
            self._ended = True
            for process in list(self._running):
                kill(process)
            for thread in self._threads:
                thread.join()

    def _work(self, copy: Path) -> None:
        try:
            copy_tracked_files(copy)
            while not self._ended:
                with contextlib.suppress(queue.Empty):
                    self._results.put(self._tried(self._waiting.get_nowait(), copy))
                    continue
                break
        finally:
            self._results.put(None)

    def _tried(self, fault: Fault, copy: Path) -> Result:
        begin = time.monotonic()
        try:
            broken = fault.applied(ROOT)
        except Stale as error:
            return Result(fault, STALE, str(error).partition(": ")[2], 0.0)
        file = copy / fault.file
        whole = file.read_text(encoding="utf-8")
        file.write_text(broken, encoding="utf-8")
        try:
            code, output = self._tests(fault, copy)
        finally:
            file.write_text(whole, encoding="utf-8")
        return Result(fault, *judged(code, output), time.monotonic() - begin)

    def _tests(self, fault: Fault, copy: Path) -> tuple[int | None, str]:
        """Return pytest's exit code, None where it took too long, and its output."""
        process = subprocess.Popen(
            [*PYTEST, *fault.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that all that a test started can be ended with it
        )
        self._running.add(process)
        try:
            output, _ = process.communicate(timeout=SECONDS)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            self._running.discard(process)
            kill(process)


def copy_tracked_files(to: Path) -> None:
    """Copy the files that git knows, as they are now, to a folder of their own."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def kill(process: "subprocess.Popen[str]") -> None:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def judged(code: int | None, output: str) -> tuple[str, str]:
    """Return the word for what pytest said, and the test that failed or what is wrong."""
    if code is None:
        return MISSED, f"the tests did not end in {SECONDS:.0f} s"
    if code == 0:
        return MISSED, "all tests pass"
    failed = re.search(r"^FAILED (\S+)", output, re.MULTILINE)
    if code == TESTS_FAILED and failed:
        return CAUGHT, failed[1]
    lines = output.strip().splitlines() or ["no output"]
    return BROKEN, f"pytest ended with {code}: {lines[-1]}"


def line(result: Result) -> str:
    """Return a result as a line of a table."""
    fault = result.fault
    return f"{fault.name:<32} {fault.file:<40} {result.word:<7} {result.seconds:5.0f} s  {result.by}"


def markdown(results: Sequence[Result]) -> str:
    """Return the results as a table of Markdown."""
    lines = ["| fault | in | what is wrong then | caught by |", "|---|---|---|---|"]
    for each in results:
        test = each.by.partition("[")[0].rpartition("::")
        by = f"`{test[2]}` in `{test[0]}`" if each.word == CAUGHT else f"**{each.word}**: {each.by}"
        lines.append(f"| `{each.fault.name}` | `{each.fault.file}` | {each.fault.what} | {by} |")
    return "\n".join(lines)


def list_faults(faults: Sequence[Fault]) -> int:
    """Print what there is, and return the exit code: 1 if any is stale."""
    stale = 0
    for fault in faults:
        try:
            fault.applied(ROOT)
            word = ""
        except Stale:
            word = f" {STALE}"
            stale += 1
        print(f"{fault.name:<32} {fault.file:<40}{word} {fault.what}")
    print(f"{len(faults)} faults in {len({fault.file for fault in faults})} files, {stale} stale")
    return 1 if stale else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python tests/mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="fault", help="those to try; by default all")
    parser.add_argument("--list", action="store_true", help="print the faults, and try none")
    parser.add_argument("--markdown", action="store_true", help="print a table of Markdown at the end")
    parser.add_argument("-n", type=int, default=2, metavar="workers", help="faults at a time, each on a copy (2)")
    args = parser.parse_args(arguments)
    if unknown := set(args.names) - {fault.name for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if args.n < 1:
        parser.error("-n must be at least 1")
    return args


def main(arguments: Sequence[str]) -> int:
    args = parse(arguments)
    chosen = [fault for fault in FAULTS if not args.names or fault.name in args.names]
    if args.list:
        return list_faults(chosen)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for result in Trials(chosen, Path(folder), min(args.n, len(chosen))).run():
            results.append(result)
            print(line(result), file=sys.stderr if args.markdown else sys.stdout, flush=True)
    if args.markdown:
        print(markdown(sorted(results, key=lambda result: FAULTS.index(result.fault))))
    counts = {word: sum(result.word == word for result in results) for word in (CAUGHT, MISSED, BROKEN, STALE)}
    print(", ".join(f"{count} {word}" for word, count in counts.items()), file=sys.stderr)
    not_caught = len(chosen) - counts[CAUGHT]
    return 1 if counts[STALE] or 40 * not_caught > len(chosen) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
