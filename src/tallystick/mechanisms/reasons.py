"""Why a subject was refused: codes that are hashed and never reused, with their names."""

from __future__ import annotations

__all__ = [
    "BASE",
    "COSINE",
    "DUPLICATE",
    "EQUIVOCATION",
    "NAMES",
    "NORM",
    "NOT_CHOSEN",
    "OUT_OF_RANGE",
    "SCORE_BELOW_THRESHOLD",
    "STALE_PARENT",
    "UNAVAILABLE",
    "WRONG_SHAPE",
    "name_of",
]

UNAVAILABLE = 301
STALE_PARENT = 302
WRONG_SHAPE = 303
OUT_OF_RANGE = 304
NORM = 305
DUPLICATE = 306
COSINE = 310
SCORE_BELOW_THRESHOLD = 314
NOT_CHOSEN = 315
BASE = 316
EQUIVOCATION = 320

NAMES = {
    UNAVAILABLE: "unavailable",
    STALE_PARENT: "stale-parent",
    WRONG_SHAPE: "wrong-shape",
    OUT_OF_RANGE: "out-of-range",
    NORM: "norm",
    DUPLICATE: "duplicate",
    COSINE: "against-the-others",
    SCORE_BELOW_THRESHOLD: "score-below-threshold",
    NOT_CHOSEN: "not-chosen",
    BASE: "base-of-comparison",
    EQUIVOCATION: "two-outputs-signed",
}


def name_of(code: int) -> str:
    """Return the name of ``code``; a third party's code has none but its number."""
    return NAMES.get(code, f"reason-{code}")
