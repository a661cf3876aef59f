"""An explanation as one HTML page that needs nothing else."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from tallystick.text import visible

if TYPE_CHECKING:
    from tallystick.provenance.explain import Explanation

__all__ = ["to_html"]

STYLE = """body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .5rem;
text-align:left;vertical-align:top}code{font-size:.8em;overflow-wrap:anywhere}"""


def to_html(explanation: Explanation) -> str:
    """Return the page: one row a statement, with its round, block, record and evidence."""
    title = _escape(f"{explanation.kind} {explanation.name}")
    rows = "\n".join(
        "<tr>"
        f"<td>{each.round}</td><td>{_escape(each.says)}</td>"
        f"<td>{each.at.height}</td><td>{each.at.number}</td>"
        f"<td><code>{_escape(each.evidence)}</code></td></tr>"
        for each in explanation.statements
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        f"<p>Task <b>{_escape(explanation.task)}</b>, "
        f"<code>{explanation.task_id.hex()}</code></p>\n"
        "<table><thead><tr><th>Round</th><th>Statement</th><th>Block</th><th>Record</th>"
        f"<th>Evidence</th></tr></thead><tbody>\n{rows}\n</tbody></table></body></html>\n"
    )


def _escape(text: str) -> str:
    return html.escape(visible(text))
