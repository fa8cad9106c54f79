"""What a program finds when it begins, as JSON on its standard output; `end`, `sleep` and others say how it ends."""

import atexit
import json
import os
import random
import re
import signal
import sys
import threading
import time

import numpy as np
import psutil


def surroundings() -> dict[str, object]:
    return {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv[-len(sys.argv) :],
        "path": sys.path[0],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "leads": os.getsid(0) == os.getpid(),
        "group": os.getpgid(0) if os.getsid(0) != os.getpid() else None,
        "descriptors": sorted(re.split("[:#]", os.readlink(f"/proc/self/fd/{n}"))[0] for n in (0, 1, 2)),
        "open": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "encodings": [stream.encoding for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "buffered": [stream.line_buffering for stream in (sys.stdout, sys.stderr)],
        "module": __name__,
        "title": " ".join(psutil.Process().cmdline()),
        "seekable": [stream.seekable() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "umask": os.umask(0o22),
    }


if __name__ == "__main__":
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    words = dict(word.split("=") for word in sys.argv[1:])
    print(json.dumps({**surroundings(), "input": sys.stdin.readline() if "input" in words else ""}), flush=True)
    print(json.dumps([random.random(), np.random.random()]), flush=True)
    atexit.register(lambda: print("over", flush=True))
    time.sleep(float(words.get("sleep", 0)))
    if "file" in words:
        open(words["file"], "w").close()
    if "late" in words:
        threading.Timer(0.2, print, [words["late"]]).start()
    if "raise" in words:
        raise RuntimeError(words["raise"])
    end = words.get("end", "0")
    sys.exit(int(end) if end.isdigit() else end)
