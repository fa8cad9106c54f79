"""Run a program to its end, and write the modules that it imported to a file: arguments are the file, it and its own."""

import runpy
import sys

before = set(sys.modules)
file, program, *sys.argv[1:] = sys.argv[1:]
sys.orig_argv = [sys.executable, program, *sys.argv[1:]]
try:
    runpy.run_path(program, run_name="__main__")
finally:
    import time

    print("CPU", time.process_time())
    with open(file, "w") as stream:
        stream.write("\n".join(sorted(set(sys.modules) - before)))
