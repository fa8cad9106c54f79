"""Run a program to its end, and write the names of the modules that it imported: arguments are a file, it and its own."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    before = set(sys.modules)
    file, *sys.argv = sys.argv[1:]
    sys.orig_argv = [sys.executable, *sys.argv]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        Path(file).write_text("\n".join(sorted(set(sys.modules) - before)))
