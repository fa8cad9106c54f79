"""Stands in for sweeps/workers/trial.py: begins, and heeds no order."""

import json
import sys
import time

from sweeps.workers.protocol import Job, Started, to_line

if __name__ == "__main__":
    Job(**json.loads(sys.stdin.readline()))
    print(to_line(Started(0)), end="", flush=True)
    time.sleep(30)
