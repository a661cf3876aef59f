"""A node: it orders a ledger, keeps its tasks' bytes, and serves both over HTTP."""

from importlib.util import find_spec

from tallystick.errors import MissingExtraError

__all__: list[str] = []

if any(find_spec(name) is None for name in ("prometheus_client", "starlette", "uvicorn")):
    raise MissingExtraError("node", "a node")  # noqa: EM101 - the extra's name
