"""Do the tests notice mistakes? Each fault is put into a copy of the code, and the tests that should fail are run on it.

    python tests/mutants                    all faults (make mutants), 40 minutes on two busy cores
    python tests/mutants r1-half fid-trace  these alone
    python tests/mutants --list             what there is; says whether each fault still fits the code
    python tests/mutants --markdown         the table of docs/faults.md
    python tests/mutants --clean            the same tests on the code as it is: all of them must pass

A fault is caught if a test fails on it. A test that cannot be collected or set up says nothing: the fault is BROKEN. One
whose text is not in its file exactly once is STALE. Only tests that `make test` runs count, not those marked slow.

The exit code is 1 if any fault is stale, or more than 1 of 40 is not caught.
"""

import argparse
import contextlib
import json
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
WARM = Path(__file__).with_name("warm.py")
PYTEST = ["-m", "not slow", "-x", "-q", "-p", "no:cacheprovider"]
SECONDS = 300.0  # that the tests of one fault may take
TESTS_FAILED = 1  # exit code of pytest's; others say that it could not run them
CAUGHT, MISSED, BROKEN, STALE = "caught", "MISSED", "BROKEN", "STALE"
PASSED = "passed"  # of tests on the code without a fault


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
        clean: whether the tests are run on the code without the faults.
    """

    def __init__(self, faults: Sequence[Fault], folder: Path, workers: int, clean: bool = False) -> None:
        self._waiting: queue.SimpleQueue[Fault] = queue.SimpleQueue()
        for fault in faults:
            self._waiting.put(fault)
        self._results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._clean = clean
        self._runners: list[subprocess.Popen[str]] = []
        copies = [folder / str(number) for number in range(workers)]
        self._threads = [threading.Thread(target=self._work, args=(copy,), daemon=True) for copy in copies]

    def run(self) -> Iterator[Result]:
        """Yield a result for each fault as it comes."""
        for thread in self._threads:
            thread.start()
        try:
            for _ in self._threads:
                yield from iter(self._results.get, None)
        finally:
            for runner in self._runners:
                runner.terminate()
                runner.wait()

    def _work(self, copy: Path) -> None:
        try:
            copy_tracked_files(copy)
            runner = subprocess.Popen(
                [sys.executable, str(WARM)],
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self._runners.append(runner)
            with contextlib.suppress(queue.Empty, EOFError):  # it was ended
                while True:
                    self._results.put(self._tried(self._waiting.get_nowait(), copy, runner))
        finally:
            self._results.put(None)

    def _tried(self, fault: Fault, copy: Path, runner: "subprocess.Popen[str]") -> Result:
        begin = time.monotonic()
        try:
            broken = fault.applied(ROOT)
        except Stale as error:
            return Result(fault, STALE, str(error).partition(": ")[2], 0.0)
        file = copy / fault.file
        whole = file.read_text(encoding="utf-8")
        if not self._clean:
            file.write_text(broken, encoding="utf-8")
        code, output = answer(runner, [*PYTEST, *fault.tests])
        file.write_text(whole, encoding="utf-8")
        word, by = judged(code, output)
        if self._clean:
            word, by = (PASSED, "") if code == 0 else (BROKEN, by)
        return Result(fault, word, by, time.monotonic() - begin)


def answer(runner: "subprocess.Popen[str]", arguments: Sequence[str]) -> tuple[int | None, str]:
    """Let a process of `warm.py` run pytest, and return its exit code, None where it took too long, and its output.

    Raises:
        EOFError: if the process has ended.
    """
    assert runner.stdin is not None
    assert runner.stdout is not None
    runner.stdin.write(json.dumps([arguments, SECONDS]) + "\n")
    runner.stdin.flush()
    if not (line := runner.stdout.readline()):
        raise EOFError
    code, output = json.loads(line)
    return code, output


def copy_tracked_files(to: Path) -> None:
    """Copy the files that git knows, as they are now, to a folder of their own."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


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


def line_of(result: Result) -> str:
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
    parser.add_argument("--clean", action="store_true", help="run the tests on the code without the faults")
    parser.add_argument("-n", type=int, default=2, metavar="workers", help="faults at a time, each on a copy (2)")
    args = parser.parse_args(arguments)
    if unknown := set(args.names) - {fault.name for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if args.n < 1:
        parser.error("-n must be at least 1")
    return args


def main(arguments: Sequence[str]) -> int:
    args = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # in order, as Ctrl-C ends it
    by_name = {fault.name: fault for fault in FAULTS}
    chosen = [by_name[name] for name in args.names] or list(FAULTS)
    if args.list:
        return list_faults(chosen)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for result in Trials(chosen, Path(folder), min(args.n, len(chosen)), args.clean).run():
            results.append(result)
            print(line_of(result), file=sys.stderr if args.markdown else sys.stdout, flush=True)
    if args.markdown:
        print(markdown(sorted(results, key=lambda result: FAULTS.index(result.fault))))
    good = PASSED if args.clean else CAUGHT
    counts = {word: sum(result.word == word for result in results) for word in (good, MISSED, BROKEN, STALE)}
    print(", ".join(f"{count} {word}" for word, count in counts.items()), file=sys.stderr)
    bad = len(chosen) - counts[good]
    return 1 if counts[STALE] or (args.clean and bad) or 40 * bad > len(chosen) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
