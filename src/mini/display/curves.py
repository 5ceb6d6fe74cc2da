"""Curves in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mini.display.text import format_cell, printable

_MARGIN = 19  # characters for the axis, its numbers, and the arrow at its end


class Curve(NamedTuple):
    """A line of a plot.

    Args:
        name: For the legend.
        steps: Where its points are.
        values: Their heights, as many; NaN and infinities are left out.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]


def draw(
    curves: Sequence[Curve], metric: str, *, step: str, width: int, height: int, colours: bool, log: bool = False
) -> str:
    """A plot as text.

    Args:
        curves: At least one with a point.
        metric: What is drawn.
        step: What it is drawn over.
        width: Characters of the whole.
        height: Lines of the whole, without the legend.
        colours: Whether the lines have some.
        log: Whether to draw the logarithm; values that have none are left out.
    """
    import plotille

    figure = plotille.Figure()
    figure.width, figure.height = max(20, width - _MARGIN - len(step)), max(5, height - 3)
    figure.with_colors, figure.origin = colours, False
    figure.x_label, figure.y_label = printable(step), printable(metric)
    figure.register_label_formatter(float, _label)
    points = [_points(curve, log) for curve in curves]
    _limits([x for xs, _ in points for x in xs], figure.set_x_limits)
    _limits([y for _, ys in points for y in ys], figure.set_y_limits)
    for curve, (xs, ys) in zip(curves, points, strict=True):
        if xs:
            figure.plot(xs, ys, label=printable(curve.name))
    text = str(figure.show(legend=len(curves) > 1))
    return f"log10 of {text.lstrip()}" if log else text


def _points(curve: Curve, log: bool) -> tuple[list[float], list[float]]:
    pairs = [
        (float(x), math.log10(y) if log else float(y))
        for x, y in zip(curve.steps, curve.values, strict=True)
        if x is not None and y is not None and math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _limits(values: Sequence[float], set_limits: object) -> None:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - abs(low) / 2 - 0.5, high + abs(high) / 2 + 0.5
    assert callable(set_limits)
    set_limits(low, high)


def _label(value: float, chars: int, delta: object, left: bool = False) -> str:
    """The number at an axis."""
    text = format_cell(value)[:chars]
    return text.ljust(chars) if left else text.rjust(chars)
