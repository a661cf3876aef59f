"""Provenance: bundles, their verification, and what a task's history says."""

from __future__ import annotations

from tallystick.provenance.bundle import Bundle, write_bundle
from tallystick.provenance.explain import Explanation, explain
from tallystick.provenance.history import TaskHistory, read_engine, read_history
from tallystick.provenance.lineage import descent
from tallystick.provenance.page import to_html
from tallystick.provenance.records import list_records, record_line
from tallystick.provenance.report import Check, Report
from tallystick.provenance.verify import verify
from tallystick.provenance.writing import BlobsMissingError

__all__ = [
    "BlobsMissingError",
    "Bundle",
    "Check",
    "Explanation",
    "Report",
    "TaskHistory",
    "descent",
    "explain",
    "list_records",
    "read_engine",
    "read_history",
    "record_line",
    "to_html",
    "verify",
    "write_bundle",
]
