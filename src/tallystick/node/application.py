"""The application beside a CometBFT, as a program of its own: ``python -m …application HOME``.

`tally node start` runs it together with CometBFT and starts it again when it dies; nobody else
needs it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tallystick.failure import DONE
from tallystick.node.consortium import open_consortium
from tallystick.node.engine import Meeting
from tallystick.node.logs import complain, log_to_stderr
from tallystick.node.parent import leave_with_parent
from tallystick.node.serve import serve

__all__ = ["main"]


def main() -> int:
    """Serve until a signal; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--meeting", type=Meeting.from_text, required=True)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--json-logs", action="store_true")
    asked = parser.parse_args()
    leave_with_parent()
    log_to_stderr(as_json=asked.json_logs)
    try:
        home = open_consortium(
            asked.folder,
            asked.meeting,
            host=asked.host,
            port=asked.port,
            as_json=asked.json_logs,
        )
        name = home.genesis.name
        serve(home, lambda url: print(f"serving {name} at {url}", flush=True))  # noqa: T201
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each has its exit status
        return complain(error, as_json=asked.json_logs)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
