"""A search of `stub_searches.py`, in a process of its own: arguments are the folder of its records, and its settings."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # as pytest does

from stub_searches import Search

if __name__ == "__main__":
    Search(Path(sys.argv[1]), *sys.argv[2:]).run()
