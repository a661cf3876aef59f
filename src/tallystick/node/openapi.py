"""The node's interface as OpenAPI describes it, from the same table that serves it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tallystick.consensus.wire import REQUEST_HEADER, SIGNATURE_HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.node.http import Entry

__all__ = ["describe"]

PARAMETER = re.compile(r"{([a-z]+)}")
SIGNING = (
    "Base64url of the encoded request (genesis hash, member, key index, method, path with query, "
    "SHA-256 of the body, time in milliseconds, 16 bytes used once) and of its Ed25519 signature."
)
REFUSAL = {
    "type": "object",
    "required": ["format", "ok", "error"],
    "properties": {
        "format": {"const": "tally.error/1"},
        "ok": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
            },
        },
    },
}


def describe(routes: Sequence[Entry]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a table of routes."""
    from tallystick import __version__  # noqa: PLC0415 - the package imports this lazily

    paths: dict[str, dict[str, Any]] = {}
    for entry in routes:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tallystick node", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Refusal": REFUSAL},
            "securitySchemes": {
                "request": {"type": "apiKey", "in": "header", "name": REQUEST_HEADER},
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": SIGNATURE_HEADER,
                    "description": SIGNING,
                },
            },
        },
    }


def _operation(entry: Entry) -> dict[str, Any]:
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    operation: dict[str, Any] = {
        "summary": entry.summary,
        "operationId": f"{entry.method.lower()}{re.sub(r'[^a-z]+', '_', entry.path)}",
        "parameters": [
            *(_parameter(name, "path", "") for name in PARAMETER.findall(entry.path)),
            *(_parameter(name, "query", says) for name, says in entry.query),
        ],
        "responses": {
            "2XX": {"description": "It is so.", "content": {entry.gives: {}}},
            "4XX": {"description": "It is refused, and why.", "content": refusal},
            "503": {"description": "Not now: ask again.", "content": refusal},
        },
    }
    if entry.takes:
        operation["requestBody"] = {"required": True, "content": {entry.takes: {}}}
    if entry.signed:
        operation["security"] = [{"request": [], "signature": []}]
    return operation


def _parameter(name: str, where: str, says: str) -> dict[str, Any]:
    kind = {"type": "string", "pattern": "^[0-9a-f]+$"} if where == "path" else {"type": "number"}
    required = where == "path" or name in {"offset", "size"}
    found: dict[str, Any] = {"name": name, "in": where, "required": required, "schema": kind}
    return {**found, "description": says} if says else found
