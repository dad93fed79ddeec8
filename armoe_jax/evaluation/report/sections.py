"""The parts of a report as HTML, made of text, tables and inline SVG."""

import importlib.resources
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from armoe_jax.evaluation.analysis import Attribution, ExpertUsage
from armoe_jax.evaluation.report import charts
from armoe_jax.evaluation.report.charts import image_uri
from armoe_jax.evaluation.report.pictures import to_uri
from armoe_jax.evaluation.report.runs import Run
from armoe_jax.evaluation.tables import LABELS, number
from armoe_jax.evaluation.windowed import WindowChoices
from armoe_jax.metrics import bjontegaard_delta
from armoe_jax.runtime.errors import printable

MIN_BD_POINTS = 4
_ARROW = '<span class="arrow" aria-hidden="true"></span>'
_DERIVED = ("lq_", "gain_")


def summary(runs: Sequence[Run]) -> str:
    """Cards with the mean figures of every run."""
    cards = []
    for run in runs:
        gain = run.means.get("gain_psnr_y")
        lines = [
            f"{_change(run, 'psnr_y')} dB PSNR-Y",
            f"{_change(run, 'ssim_y')} SSIM-Y",
        ]
        published = run.published or {}
        if published.get("psnr_y") is not None:
            condition = escape(str(published.get("condition", "")))
            lines.append(
                f"paper: {number('psnr_y', published['psnr_y'])} dB "
                f'<span class="quiet">({condition})</span>'
            )
        value = f"{gain:+.2f} dB" if gain is not None else "&ndash;"
        sign = "" if gain is None else "good" if gain > 0 else "bad" if gain < 0 else ""
        count = len(run.rows)
        cards.append(
            f'<article class="card"><h3>{escape(run.label)}</h3>'
            f'<p class="figure {sign}">{value}</p>'
            f'<p class="quiet">mean gain, {count} image{"s" if count != 1 else ""}</p>'
            f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul></article>"
        )
    return f'<section class="cards" aria-label="Summary">{"".join(cards)}</section>'


def _change(run: Run, name: str) -> str:
    return (
        f"{number(name, run.means.get(f'lq_{name}'))} → <b>{number(name, run.means.get(name))}</b>"
    )


def caption(row: Mapping[str, float | None]) -> list[list[str]]:
    """Returns [heading, "input → restored", gain] of every figure of an image."""
    out = []
    for name, label in LABELS.items():
        if row.get(name) is not None and row.get(f"lq_{name}") is not None:
            before, after = row[f"lq_{name}"], row[name]
            change = (after or 0.0) - (before or 0.0)
            arrow = f"{number(name, before)} → {number(name, after)}"
            out.append([label, arrow, number(name, change, signed=True)])
    if row.get("bpp") is not None:
        out.append(["rate", f"{row['bpp']:.3f} bit/pixel", ""])
    return out


def comparison(data: Mapping[str, Any]) -> str:
    """The viewer with its slider; the script fills it."""
    if not any(run["images"] for run in data["runs"]):
        return _section(
            "Comparison",
            "comparison",
            '<p class="quiet">No pictures: the folders of coded and restored images are not known. '
            "Give them with --lq and --restored (and --gt).</p>",
        )
    return _section(
        "Comparison",
        "comparison",
        (importlib.resources.files("armoe_jax.evaluation.report") / "viewer.html").read_text(
            "utf-8"
        ),
    )


def curves(runs: Sequence[Run]) -> str:
    """Rate and quality of the codec alone and with restoration, and BD figures."""
    rated = [run for run in runs if run.means.get("bpp") is not None]
    if not rated:
        return ""
    figures = [
        f"<figure>{_rate_chart(rated, name)}</figure>"
        for name in ("psnr_y", "ssim_y")
        if any(run.means.get(name) is not None for run in rated)
    ]
    note = (
        "Means over images. The rate is that of the codec: restoration sends no bits."
        if len(rated) > 1
        else "One operating point; curves need runs at several qualities."
    )
    body = f'<p class="quiet">{note}</p><div class="charts">{"".join(figures)}</div>{_bd(rated)}'
    return _section("Rate and quality", "curves", body)


def _rate_chart(runs: Sequence[Run], name: str) -> str:
    series = []
    groups = _by_codec(runs)
    for i, (codec, group) in enumerate(groups.items()):
        points = [
            run for run in group if None not in (run.means.get(name), run.means.get(f"lq_{name}"))
        ]
        for prefix, label, dashed in (("lq_", codec, True), ("", f"{codec} + ARMoE", False)):
            color = charts.SERIES_COLORS[0 if dashed else 1 + i % 5]
            series.append(
                charts.Series(
                    label,
                    [_value(run, "bpp") for run in points],
                    [_value(run, f"{prefix}{name}") for run in points],
                    [
                        f"{run.label}: {_value(run, 'bpp'):.3f} bit/pixel, "
                        f"{number(name, run.means[f'{prefix}{name}'])}"
                        for run in points
                    ],
                    color,
                    dashed,
                )
            )
    return charts.line_chart(series, x_label="bit/pixel", y_label=LABELS[name])


def _bd(runs: Sequence[Run]) -> str:
    """BD-rate and BD-PSNR of each codec that has enough points."""
    rows, shares = [], []
    for codec, group in _by_codec(runs).items():
        points = [
            run
            for run in group
            if None not in (run.means.get("psnr_y"), run.means.get("lq_psnr_y"))
        ]
        points = sorted(points, key=lambda run: _value(run, "bpp"))
        if len(points) < MIN_BD_POINTS:
            continue
        rate = [_value(run, "bpp") for run in points]
        curves = (
            rate,
            [_value(r, "lq_psnr_y") for r in points],
            rate,
            [_value(r, "psnr_y") for r in points],
        )
        try:
            delta = bjontegaard_delta(*curves)
            cells = [f"{delta.bd_rate:+.2f} %", f"{delta.bd_psnr:+.3f} dB"]
            shares.append(f"{escape(codec)} {delta.psnr_overlap:.0%}")
        except ValueError as error:
            cells = [f"not defined: {escape(str(error))}", "&ndash;"]
        rows.append(f"<tr><th>{escape(codec)}</th>{''.join(f'<td>{c}</td>' for c in cells)}</tr>")
    if not rows:
        return f'<p class="quiet">BD-rate needs {MIN_BD_POINTS} qualities of the same codec.</p>'
    return (
        '<table class="small"><thead><tr><th>ARMoE after …</th><th>BD-rate (PSNR-Y)</th>'
        "<th>BD-PSNR-Y</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
        f'<p class="quiet">PSNR that both curves have: {", ".join(shares) or "none"}</p>'
    )


def _by_codec(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.codec.upper() or "codec", []).append(run)
    return groups


def _value(run: Run, name: str) -> float:
    value = run.means[name]
    assert value is not None, name
    return value


def table(runs: Sequence[Run]) -> str:
    """All figures of all images; the script sorts it."""
    columns = _columns(runs)
    many = len(runs) > 1
    heads = [("image", f"image{_ARROW}", "text")] + (
        [("run", f"run{_ARROW}", "text")] if many else []
    )
    heads += [(name, _heading(name), "number") for name in columns]
    head = "".join(
        f'<th aria-sort="none" data-kind="{kind}"><button type="button" data-column="{i}">'
        f"{label}</button></th>"
        for i, (_, label, kind) in enumerate(heads)
    )
    body = "".join(
        _row(name, run.label if many else None, row, columns, run.label)
        for run in runs
        for name, row in run.rows.items()
    )
    foot = "".join(
        _row("mean", run.label if many else None, run.means, columns, "") for run in runs
    )
    return _section(
        "Figures",
        "table",
        '<p class="quiet">Click a heading to sort, a row to look at its image.</p>'
        f'<div class="scroll" tabindex="0"><table id="metrics"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody><tfoot>{foot}</tfoot></table></div>",
    )


def _columns(runs: Sequence[Run]) -> list[str]:
    """Known figures first, each with input, restored and gain; then whatever else there is."""
    present = dict.fromkeys(name for run in runs for name in run.columns)
    known = [f"{prefix}{name}" for name in LABELS for prefix in ("lq_", "", "gain_")]
    ordered = [name for name in ("bpp", *known) if name in present]
    return ordered + [name for name in present if name not in ordered]


def _heading(name: str) -> str:
    for prefix, word in (("lq_", "input"), ("gain_", "gain")):
        if name.startswith(prefix):
            base = LABELS.get(name.removeprefix(prefix), name)
            return f"{escape(base)}<small>{word}{_ARROW}</small>"
    if name in LABELS:
        return f"{escape(LABELS[name])}<small>restored{_ARROW}</small>"
    return f"{escape(name.replace('_', ' '))}<small>&nbsp;{_ARROW}</small>"


def _row(
    name: str, label: str | None, row: Mapping[str, float | None], columns: Iterable[str], run: str
) -> str:
    name, run = printable(name), printable(run)  # as in the data that the script compares with
    cells = [f"<th scope='row'>{escape(name)}</th>"]
    if label is not None:
        cells.append(f"<td class='text'>{escape(printable(label))}</td>")
    for column in columns:
        value = row.get(column)
        if value is None:
            cells.append("<td data-value=''>&ndash;</td>")
            continue
        gain = column.startswith("gain_")
        sign = (
            (" class='good'" if value > 0 else " class='bad'" if value < 0 else "") if gain else ""
        )
        cells.append(f"<td data-value='{value!r}'{sign}>{_cell(column, value, gain)}</td>")
    attributes = f"data-run='{escape(run)}' data-image='{escape(name)}'"
    return f"<tr {attributes}>{''.join(cells)}</tr>"


def _cell(column: str, value: float, gain: bool) -> str:
    base = column
    for prefix in _DERIVED:
        base = base.removeprefix(prefix)
    if base in LABELS or base.startswith("psnr"):
        return number(base, value, signed=gain)
    return f"{value:.4g}"


def experts(usages: Mapping[str, ExpertUsage]) -> str:
    """Usage by layer, and the choice of each layer for each image."""
    parts = []
    for label, usage in usages.items():
        entropy = statistics.fmean(
            -sum(share * np.log2(share) for share in row if share > 0) for row in usage.shares
        )
        parts.append(
            f"<h3>{escape(label)}</h3><p class='quiet'>Share of "
            f"{'images' if usage.windows is None else 'windows'} that each layer sends to each "
            f"expert. Mean entropy {entropy:.2f} bit of "
            f"{np.log2(len(usage.expert_names)):.2f}.</p>"
            f'<div class="charts"><figure>'
            f"{charts.usage_chart(usage.shares, usage.expert_names)}</figure><figure>"
            f"{charts.routing_chart(usage.expert, usage.expert_names, usage.image_names)}"
            "</figure></div>"
        )
    return _section("Experts", "experts", "".join(parts)) if parts else ""


def decay(maps: Any) -> str:
    """Small pictures of every layer's mean decay over frequency."""
    if maps is None:
        return ""
    figures = "".join(
        f'<figure><img src="{charts.heat_map(m, peak=1.0)}" alt="decay of layer {i}">'
        f"<figcaption>layer {i}<small>mean {m.mean():.2f}</small></figcaption></figure>"
        for i, m in enumerate(maps)
    )
    return _section(
        "Decay",
        "decay",
        '<p class="quiet">Weight of spatial frequencies in the experts of each layer, mean over '
        "channels: zero frequency at the top left; black is 0, pale yellow 1.</p>"
        f'<div class="tiles">{figures}</div>',
    )


def silenced(runs: Mapping[str, Mapping[str, float]]) -> str:
    """A table of the gain, and of what is left of it when experts add nothing."""
    rows = [
        f"<tr><td>{escape(printable(label))}</td><td>{escape(_silent(name))}</td>"
        f"<td>{gain:+.3f}</td><td>{gain - gains['whole']:+.3f}</td></tr>"
        for label, gains in runs.items()
        for name, gain in gains.items()
    ]
    if not rows:
        return ""
    head = "<tr><th>evaluation</th><th>silent</th><th>gain, dB</th><th>change</th></tr>"
    table = f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody>"
    return _section(
        "What experts are worth",
        "silenced",
        '<p class="quiet">Mean gain in PSNR-Y of the first images, restored by what the pixels '
        "tell alone, as trained and with experts that add nothing.</p>"
        f'<div class="scroll"><table class="small">{table}</table></div>',
    )


def _silent(name: str) -> str:
    return {"whole": "none", "mixture": "all experts"}.get(name, name)


def window_choices(items: Mapping[str, tuple[np.ndarray, WindowChoices]]) -> str:
    """Pictures tinted by the expert that each window chose, one a layer."""
    if not items:
        return ""
    names = next(iter(items.values()))[1].expert_names
    legend = ", ".join(
        f'<span style="color:{charts.expert_color(i)}">&#9632;</span> {escape(name)}'
        for i, name in enumerate(names)
    )
    figures = [
        f'<figure><img src="{image_uri(choices.drawn_over(picture, layer), "JPEG", quality=85)}" '
        f'alt="experts of {escape(name)} in layer {layer}"><figcaption>{escape(name)}<small>'
        f"layer {layer}</small></figcaption></figure>"
        for name, (picture, choices) in items.items()
        for layer in range(len(choices.expert))
    ]
    return _section(
        "Windows",
        "windows",
        f'<p class="quiet">Which expert each window takes: {legend}.</p>'
        f'<div class="tiles">{"".join(figures)}</div>',
    )


def thresholds(maps: Mapping[str, Any]) -> str:
    """Thresholds of every layer and expert: by frequency, or in a row of bands."""
    peak = max((float(rows.max()) for rows in maps.values()), default=0.0)
    figures = []
    for name, rows in maps.items():
        side = math.isqrt(rows.shape[1])
        shape = (side, side) if side * side == rows.shape[1] else (1, rows.shape[1])
        figures += [
            f'<figure><img src="{charts.heat_map(row.reshape(shape), peak=peak)}" '
            f'alt="thresholds of {escape(name)} in layer {layer}"><figcaption>{escape(name)}, '
            f"layer {layer}<small>mean {row.mean():.3f}</small></figcaption></figure>"
            for layer, row in enumerate(rows)
        ]
    if not figures:
        return ""
    return _section(
        "Thresholds",
        "thresholds",
        '<p class="quiet">What each band of an expert is shrunk by, mean over channels, in units '
        f"of normalised features: black is 0, pale yellow {peak:.2f}.</p>"
        f'<div class="tiles">{"".join(figures)}</div>',
    )


def attributions(items: Mapping[str, tuple[np.ndarray, Attribution]]) -> str:
    """What a patch of the output depends on, beside the picture."""
    figures = []
    for name, (picture, result) in items.items():
        root = np.sqrt(result.map / max(float(result.map.max()), 1e-12))
        top, left, side = result.patch
        scale = picture.shape[0] / result.map.shape[0]
        height, width = (round(s * scale) for s in result.map.shape)
        figures.append(
            f'<figure class="pair"><div><svg viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{escape(name)}"><image href="{to_uri(picture)}" width="{width}" '
            f'height="{height}"/><rect x="{left}" y="{top}" width="{side}" height="{side}" '
            'fill="none" stroke="#e00" stroke-width="1.5"/></svg>'
            f'<img src="{charts.heat_map(root)}" alt="attribution map of {escape(name)}"></div>'
            f"<figcaption>{escape(name)}<small>diffusion index {result.diffusion_index:.1f}, "
            f"completeness {result.completeness:.2f}</small></figcaption></figure>"
        )
    if not figures:
        return ""
    return _section(
        "Local attribution",
        "attribution",
        '<p class="quiet">Which input pixels the structure inside the red square depends on '
        "(square root of the attribution). Diffusion index 0: on one pixel; 100: on all "
        f'equally.</p><div class="tiles wide">{"".join(figures)}</div>',
    )


def _section(title: str, name: str, body: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>'
