"""Opens a study's database at a moment: arguments are its address and the time of the clock, in seconds."""

import sys
import time

from sweeps.study import storage

if __name__ == "__main__":
    address, begin = sys.argv[1:]
    time.sleep(max(float(begin) - time.time(), 0))
    storage.open_database(address, 180)
