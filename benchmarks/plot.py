# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a run: how often as good as each baseline, on a logarithmic scale, with what is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Outcome

_LESS_IS_BETTER = ("s", "ms", "MiB")
_COLOURS = ("#2a6f97", "#e07a1f", "#5b8e3e", "#8b5fa8", "#b23a48", "#6b6b6b")


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    who: str
    value: float
    least: float
    most: float
    asked: float | None


def bars_of(outcomes: Iterable[Outcome]) -> list[Bar]:
    """Greater is better for all: of times the ratio is turned over."""
    found = []
    for outcome in outcomes:
        for who, compared in outcome.against.items():
            ratio, asked = compared.ratio, compared.asked.bound if compared.asked else None
            if outcome.unit in _LESS_IS_BETTER:
                span = 1 / ratio.middle, 1 / ratio.most, 1 / ratio.least
                asked = 1 / asked if asked else None
            else:
                span = ratio.middle, ratio.least, ratio.most
            found.append(Bar(outcome.name, who, *span, asked))
    return found


def draw(outcomes: Sequence[Outcome], path: Path, title: str) -> None:
    """Raises ImportError where matplotlib is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = bars_of(outcomes)
    figure: Any
    axes: Any
    figure, axes = pyplot.subplots(figsize=(11, 1.6 + 0.26 * max(len(bars), 4)), layout="constrained")
    colours = dict(zip(dict.fromkeys(bar.who for bar in bars), _COLOURS * 3, strict=False))
    for at, bar in enumerate(bars):
        axes.barh(at, bar.value, color=colours[bar.who], height=0.72)
        axes.plot([bar.least, bar.most], [at, at], color="black", linewidth=1)
        if bar.asked is not None:
            axes.plot([bar.asked, bar.asked], [at - 0.45, at + 0.45], color="red", linewidth=2)
        axes.text(bar.most, at, f"  {bar.value:.3g}", va="center", fontsize=7)
    axes.set_yticks(range(len(bars)), [f"{bar.label}  ÷  {bar.who}" for bar in bars], fontsize=8)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    if bars:
        axes.set_xscale("log")
        axes.margins(x=0.15)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times as fast as the baseline (red: what is asked; black: least and most of the rounds)")
    axes.set_title(f"{title}\n{_absolute(outcomes)}", fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _absolute(outcomes: Iterable[Outcome]) -> str:
    """Text of what is asked of our own figure, which has no bar: three to a line."""
    found = [
        f"{o.name} {o.ours.middle:.3g} {o.unit} ({o.asked}: {'met' if o.met else 'not met'})"
        for o in outcomes
        if o.asked
    ]
    return "\n".join("  ·  ".join(found[at : at + 3]) for at in range(0, len(found), 3))
