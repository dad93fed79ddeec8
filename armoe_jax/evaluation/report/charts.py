"""Charts as inline SVG, without a library: the page's style sheet may colour them.

Every colour has a fallback in the SVG itself, so that a chart also stands alone as a file.
"""

import base64
import dataclasses
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from armoe_jax.evaluation.windowed import EXPERT_COLORS

# Okabe and Ito's colours, which the colour-blind can tell apart.
SERIES_COLORS = ("#7a7f87", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")

_INK, _FAINT = 'class="ink" fill="#444"', 'class="grid" stroke="#ddd"'


@dataclasses.dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        label: For the legend.
        x: Abscissae.
        y: Ordinates.
        notes: What pointing at each point shows.
        color: CSS colour.
        dashed: Whether the line is dashed.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    notes: Sequence[str] = ()
    color: str = SERIES_COLORS[0]
    dashed: bool = False


def line_chart(
    series: Sequence[Series], *, x_label: str, y_label: str, width: int = 560, height: int = 360
) -> str:
    """Draws curves through marked points, with axes, a grid and a legend.

    Args:
        series: The curves; points are joined in order of x.
        x_label: Under the axis.
        y_label: Beside the axis.
        width: Pixels of the drawing.
        height: Pixels of the drawing.

    Raises:
        ValueError: If there is no point.
    """
    xs, ys = [x for s in series for x in s.x], [y for s in series for y in s.y]
    if not xs:
        raise ValueError("a chart needs at least one point")
    left, right, top, bottom = 62, 18, 16, 48
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return left + across * (width - left - right), height - bottom - up * (
            height - top - bottom
        )

    parts = [_axes(x_ticks, y_ticks, place, (left, right, top, bottom), (width, height))]
    parts += [_curve(s, place) for s in series]
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle" {_INK}>'
        f"{escape(x_label)}</text>"
        f'<text transform="translate(15 {(top + height - bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle" {_INK}>{escape(y_label)}</text>'
    )
    for i, s in enumerate(series):
        y = height - bottom - 12 - 19 * (len(series) - 1 - i)
        x = width - right - 190
        dash = ' stroke-dasharray="5 4"' if s.dashed else ""
        parts.append(
            f'<line x1="{x}" x2="{x + 26}" y1="{y - 4}" y2="{y - 4}" stroke="{s.color}" '
            f'stroke-width="2.5"{dash}/><text x="{x + 33}" y="{y}" {_INK}>{escape(s.label)}</text>'
        )
    return _svg(parts, width, height, f"{y_label} against {x_label}")


def _axes(x_ticks, y_ticks, place, margins, size) -> str:
    left, right, top, bottom = margins
    width, height = size
    parts = []
    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" {_FAINT}/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" {_INK}>{tick:g}</text>'
        )
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}" {_FAINT}/>'
            f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle" {_INK}>'
            f"{tick:g}</text>"
        )
    return "".join(parts)


def _curve(series: Series, place) -> str:
    order = sorted(range(len(series.x)), key=lambda i: series.x[i])
    points = [place(series.x[i], series.y[i]) for i in order]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if series.dashed else ""
    parts = [
        f'<polyline points="{line}" fill="none" stroke="{series.color}" stroke-width="2.5"{dash}/>'
    ]
    for i, (x, y) in zip(order, points, strict=True):
        note = series.notes[i] if series.notes else f"{series.x[i]:g}, {series.y[i]:g}"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{series.color}">'
            f"<title>{escape(series.label)}: {escape(note)}</title></circle>"
        )
    return "".join(parts)


def usage_chart(
    shares: Float[np.ndarray, "l e"], names: Sequence[str], *, width: int = 560, height: int = 240
) -> str:
    """Draws one stacked bar for each layer: the share of images that every expert got."""
    left, right, top, bottom = 52, 12, 34, 44
    step = (width - left - right) / len(shares)
    span = height - top - bottom
    parts = [_legend(names, left)]
    for percent in (0, 25, 50, 75, 100):
        y = height - bottom - span * percent / 100
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" {_FAINT}/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" {_INK}>{percent} %</text>'
        )
    every = max(1, math.ceil(26 / step))
    for layer, row in enumerate(shares):
        x, y = left + layer * step, float(height - bottom)
        for i, share in enumerate(row):
            y -= span * float(share)
            if share > 0:
                parts.append(
                    f'<rect x="{x + 0.08 * step:.2f}" y="{y:.2f}" width="{0.84 * step:.2f}" '
                    f'height="{span * float(share):.2f}" fill="{expert_color(i)}">'
                    f"<title>layer {layer}: {escape(names[i])} {100 * share:.0f} %</title></rect>"
                )
        if layer % every == 0:
            parts.append(
                f'<text x="{x + step / 2:.1f}" y="{height - bottom + 17}" text-anchor="middle" '
                f"{_INK}>{layer}</text>"
            )
    middle = (left + width - right) / 2
    parts.append(f'<text x="{middle}" y="{height - 8}" text-anchor="middle" {_INK}>layer</text>')
    return _svg(parts, width, height, "Expert usage by layer")


def routing_chart(
    expert: Int[np.ndarray, "l b"], names: Sequence[str], images: Sequence[str], *, width: int = 560
) -> str:
    """Draws one coloured cell for each image (row) and layer (column): the expert taken."""
    layers, count = expert.shape
    row_height, top = 20, 34
    left = min(170, 16 + 7 * max(len(name) for name in images))
    step = (width - left - 12) / layers
    parts = [_legend(names, left)]
    for row in range(count):
        y = top + row * row_height
        label = images[row] if len(images[row]) <= 22 else images[row][:21] + "…"
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" {_INK}>{escape(label)}</text>'
        )
        for layer in range(layers):
            index = int(expert[layer, row])
            parts.append(
                f'<rect x="{left + layer * step:.2f}" y="{y + 1}" width="{0.94 * step:.2f}" '
                f'height="{row_height - 2}" fill="{expert_color(index)}"><title>'
                f"{escape(images[row])}, layer {layer}: {escape(names[index])}</title></rect>"
            )
    return _svg(parts, width, top + count * row_height + 8, "Expert of each layer and image")


def heat_map(values: Float[np.ndarray, "h w"], *, peak: float | None = None) -> str:
    """Returns a map as the data URI of a PNG: black over purple and orange to pale yellow.

    Args:
        values: At least 0.
        peak: Value of the brightest colour; the largest by default.
    """
    scale = peak if peak is not None else float(values.max())
    unit = np.clip(values / scale if scale > 0 else np.zeros_like(values), 0, 1)
    stops = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])
    position = np.linspace(0, 1, len(stops))
    rgb = np.stack([np.interp(unit, position, stops[:, c]) for c in range(3)], axis=-1)
    return image_uri(np.rint(rgb).astype(np.uint8))


def image_uri(pixels: np.ndarray, image_format: str = "PNG", **options: object) -> str:
    """Returns a uint8 picture as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{image_format.lower()};base64,{data}"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns round numbers (1, 2 or 5 times a power of ten apart) that enclose an interval."""
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _legend(names: Sequence[str], left: int) -> str:
    parts, x = [], left
    for i, name in enumerate(names):
        parts.append(
            f'<rect x="{x}" y="8" width="13" height="13" rx="2" fill="{expert_color(i)}"/>'
            f'<text x="{x + 19}" y="19" {_INK}>{escape(name)}</text>'
        )
        x += 42 + 8 * len(name)
    return "".join(parts)


def expert_color(index: int) -> str:
    """Returns the colour of an expert."""
    return EXPERT_COLORS[index % len(EXPERT_COLORS)]


def _svg(parts: Sequence[str], width: int, height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12">'
        f"{''.join(parts)}</svg>"
    )
