"""Where a node's processes write what they have to say, and how."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from tallystick.failure import BUG, foreseen

__all__ = ["complain", "log_to_stderr"]

LOG = logging.getLogger(__name__)


def log_to_stderr(*, as_json: bool, level: int = logging.INFO) -> None:
    """Send this package's log to standard error, for people or as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if as_json else plain)
    for name in ("tallystick", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


def complain(error: BaseException, *, as_json: bool) -> int:
    """Say why a program ends, for people or as a line of the log; return its exit status."""
    failure = foreseen(error)
    if failure is None:
        LOG.critical("our bug: the program ends", exc_info=error)
        return BUG
    if as_json:
        LOG.critical(failure.sentence)
    else:
        print(f"tally: {failure.sentence}", file=sys.stderr, flush=True)  # noqa: T201
    return failure.status


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what the record adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("address", "seconds"):
            if hasattr(record, name):
                said[name] = getattr(record, name)
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)
