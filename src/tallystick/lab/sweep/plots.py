"""A sweep's plots: a heat map of recipe against attack, and accuracy over the rounds.

Colour is never the only carrier: the heat map prints its numbers, and lines differ in their dashes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tallystick.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tallystick.lab.sweep.plan import Sweep
    from tallystick.lab.sweep.summary import Line, Name

__all__ = ["HEAT_MAP", "check_plotting", "plot_names", "write_plots"]

EXTRA = "demo"  # what installs matplotlib
HEAT_MAP = "summary.png"
DOTS_PER_INCH = 120
# Eight colours that people with any colour vision tell apart (Okabe and Ito, 2008).
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999933",
)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)), (0, (3, 3)))
DARK = 0.55  # accuracy above which the map is light and its numbers are dark
PANELS = 3  # next to each other


def check_plotting() -> None:
    """Find out whether plots can be drawn.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    _figure(1, 1)


def plot_names(sweep: Sweep) -> list[str]:
    """Return the files that `write_plots` writes."""
    return [HEAT_MAP, *(_file(data, partition) for data, partition in _settings(sweep))]


def write_plots(folder: Path, sweep: Sweep, lines: Sequence[Line]) -> None:
    """Draw a sweep's summary; all cells need not be there.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    found = {line.name: line for line in lines}
    _save(_draw_map(sweep, found), folder / HEAT_MAP)
    for data, partition in _settings(sweep):
        _save(_draw_rounds(sweep, found, data, partition), folder / _file(data, partition))


def _draw_map(sweep: Sweep, found: dict[Name, Line]) -> Any:  # noqa: ANN401 - matplotlib is an extra
    settings = _settings(sweep)
    wide, high = len(sweep.attacks), len(sweep.recipes)
    figure = _figure(2.6 + 1.15 * wide, 1.2 + len(settings) * (1.1 + 0.55 * high))
    panels = figure.subplots(len(settings), 1, squeeze=False)[:, 0]
    image = None
    for panel, (data, partition) in zip(panels, settings, strict=True):
        grid = [
            [found.get((recipe, attack, data, partition)) for attack in sweep.attacks]
            for recipe in sweep.recipes
        ]
        means = [
            [line.accuracy.mean if line and line.accuracy else float("nan") for line in row]
            for row in grid
        ]
        image = panel.imshow(means, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for y, row in enumerate(grid):
            for x, line in enumerate(row):
                _print(panel, x, y, line)
        panel.set_xticks(range(wide), sweep.attacks, rotation=30, ha="right")
        panel.set_yticks(range(high), sweep.recipes)
        panel.set_title(f"{data}, {partition}")
    figure.suptitle(f"Accuracy of the final model, mean [worst] of {len(sweep.seeds)} seeds")
    figure.colorbar(image, ax=list(panels), label="mean accuracy")
    return figure


def _print(panel: Any, x: int, y: int, line: Line | None) -> None:  # noqa: ANN401
    if line is None or line.accuracy is None:
        return
    colour = "black" if line.accuracy.mean > DARK else "white"
    text = f"{line.accuracy.mean:.3f}\n[{line.accuracy.low:.3f}]"
    panel.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)


def _draw_rounds(sweep: Sweep, found: dict[Name, Line], data: str, partition: str) -> Any:  # noqa: ANN401
    wide = min(PANELS, len(sweep.attacks))
    high = -(-len(sweep.attacks) // wide)
    figure = _figure(1 + 3.6 * wide, 1.2 + 2.7 * high)
    panels = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True).flatten()
    for panel, attack in zip(panels, sweep.attacks, strict=False):
        for at, recipe in enumerate(sweep.recipes):
            line = found.get((recipe, attack, data, partition))
            if line is not None:
                _curve(panel, line, at)
        panel.set_title(attack)
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlim(0, sweep.rounds + 1)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    for panel in panels[len(sweep.attacks) :]:
        panel.set_axis_off()
    figure.supylabel("accuracy")
    seeds = f"mean, smallest and largest of {len(sweep.seeds)} seeds"
    figure.suptitle(f"{data}, {partition}: accuracy after each round, {seeds}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, max(1, len(labels))))
    return figure


def _curve(panel: Any, line: Line, at: int) -> None:  # noqa: ANN401
    rounds = [(number, each) for number, each in enumerate(line.rounds, 1) if each is not None]
    numbers = [number for number, _ in rounds]
    colour, dashes = COLOURS[at % len(COLOURS)], DASHES[at % len(DASHES)]
    means = [each.mean for _, each in rounds]
    panel.plot(numbers, means, color=colour, linestyle=dashes, label=line.recipe)
    low, high = ([getattr(each, side) for _, each in rounds] for side in ("low", "high"))
    panel.fill_between(numbers, low, high, color=colour, alpha=0.15, linewidth=0)


def _settings(sweep: Sweep) -> list[tuple[str, str]]:
    return [(data.label, partition) for data in sweep.data for partition in sweep.partitions]


def _file(data: str, partition: str) -> str:
    return f"rounds-{re.sub(r'[^A-Za-z0-9._-]+', '-', f'{data}-{partition}')}.png"


def _figure(width: float, height: float) -> Any:  # noqa: ANN401
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(EXTRA, "drawing a sweep") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png")
    temporary.replace(path)
