"""Where tests find what they share."""

import sys
from pathlib import Path

HERE = Path(__file__).parent

sys.path[:0] = [str(HERE), str(HERE.parent / "scripts")]

# `support` is imported by tests and holds none itself.
collect_ignore = ["support"]
