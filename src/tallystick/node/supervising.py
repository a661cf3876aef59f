"""A node's supervisor, as a program of its own: ``python -m …supervising NUMBER``.

The number is an open file's that holds the plan. `tally node start` becomes this program; nobody
else needs it.
"""

from __future__ import annotations

import os
import sys

from tallystick.node.logs import complain, log_to_stderr
from tallystick.node.parent import parent_pipe
from tallystick.node.plan import Plan
from tallystick.node.supervisor import supervise

__all__ = ["main"]


def main() -> int:
    """Supervise until a signal; return the exit status."""
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as file:
        plan = Plan.from_text(file.read())
    log_to_stderr(as_json=plan.json_logs)
    try:
        return supervise(plan.folder, plan.programs, parent=parent_pipe())
    except Exception as error:  # noqa: BLE001 - each has its exit status
        return complain(error, as_json=plan.json_logs)


if __name__ == "__main__":
    sys.exit(main())
