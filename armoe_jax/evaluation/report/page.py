"""Puts a report together: one HTML file that loads nothing from anywhere."""

import dataclasses
import hashlib
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from armoe_jax.evaluation.analysis import Attribution, ExpertUsage
from armoe_jax.evaluation.report import charts, sections
from armoe_jax.evaluation.report.pictures import Picture, load_pictures, thumbnail_uri, to_uri
from armoe_jax.evaluation.report.runs import Run, unique_labels
from armoe_jax.evaluation.windowed import WindowChoices
from armoe_jax.runtime.errors import printable
from armoe_jax.runtime.files import write_atomically

DEFAULT_MAX_IMAGES = 12


@dataclasses.dataclass(frozen=True)
class Inside:
    """Looks inside the network, for the report's last part; see `armoe_jax.evaluation.analysis`.

    Attributes:
        decay: Mean decay over frequency of every layer, or None.
        attributions: Image name -> (picture, its local attribution).
        usage: Label of a run -> expert usage, where the run's record has none.
        choices: Image name -> (picture, what its windows chose), where windows choose.
        thresholds: Expert (and coding quality) -> mean thresholds by layer and band, where windows
            choose.
        silenced: Label of a run -> gains without the mixture and without each expert, where windows
            choose; see `armoe_jax.evaluation.windowed.gains_when_silenced`.
    """

    decay: Float[np.ndarray, "layers u v"] | None = None
    attributions: Mapping[str, tuple[UInt8[np.ndarray, "h w 3"], Attribution]] = dataclasses.field(
        default_factory=dict
    )
    usage: Mapping[str, ExpertUsage] = dataclasses.field(default_factory=dict)
    choices: Mapping[str, tuple[Picture, WindowChoices]] = dataclasses.field(default_factory=dict)
    thresholds: Mapping[str, Float[np.ndarray, "layers bands"]] = dataclasses.field(
        default_factory=dict
    )
    silenced: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)


def write_report(
    path: str | Path,
    runs: Sequence[Run],
    *,
    title: str = "ARMoE restoration report",
    max_images: int = DEFAULT_MAX_IMAGES,
    inside: Inside | None = None,
) -> None:
    """Writes a report as one HTML file.

    Args:
        path: File to write; appears only when complete.
        runs: What was evaluated.
        title: Heading.
        max_images: Images of each run that are embedded to look at; the figures of all are shown.
        inside: Expert usage of runs that do not record it, decay maps, attributions.

    Raises:
        ValueError: If there are no runs, or a picture cannot be shown.
    """
    if not runs:
        raise ValueError("a report needs at least one evaluation")
    runs = unique_labels(list(runs))
    inside = inside or Inside()
    usages = {run.label: usage for run in runs if (usage := _usage(run, inside))}
    pictures = _Pictures()
    data = {
        "runs": [_run_data(run, usages.get(run.label), max_images, pictures) for run in runs],
        "pictures": pictures.uris,
    }
    body = [
        sections.summary(runs),
        sections.comparison(data),
        sections.curves(runs),
        sections.table(runs),
        sections.experts(usages),
        _inside(inside),
    ]
    write_atomically(path, _page(title, runs, "\n".join(filter(None, body)), data))


def _page(title: str, runs: Sequence[Run], body: str, data: Mapping[str, Any]) -> str:
    here = importlib.resources.files("armoe_jax.evaluation.report")
    page, style, script = (
        (here / name).read_text(encoding="utf-8")
        for name in ("template.html", "style.css", "script.js")
    )
    # A script element ends early at "</", and late after "<!--<script": no "<" is left.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    embedded = text.replace("<", "\\u003c")
    subtitle = " · ".join(printable(run.label) for run in runs)
    parts = {
        "TITLE": escape(title),
        "SUBTITLE": escape(subtitle),
        "STYLE": style,
        "BODY": body,
        "SCRIPT": script,
        "DATA": embedded,
    }
    head, *rest = page.split("@@")
    # Odd pieces are names: nothing that is filled in is looked at again.
    pieces = [parts[piece] if i % 2 == 0 else piece for i, piece in enumerate(rest)]
    return "".join([head, *pieces])


def _usage(run: Run, inside: Inside) -> ExpertUsage | None:
    if not run.experts:
        return inside.usage.get(run.label)
    names = tuple(run.experts)
    expert = np.array([run.experts[name] for name in names], np.int32).T
    known = run.expert_names or tuple(f"expert {i}" for i in range(int(expert.max()) + 1))
    return ExpertUsage(known, names, expert)


class _Pictures:
    """Pictures of a report, each embedded once: several runs share their originals."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self._known: dict[bytes, int] = {}

    def add(self, picture: np.ndarray) -> int:
        """Returns the place of a picture in `uris`."""
        key = hashlib.sha256(picture.tobytes() + repr(picture.shape).encode()).digest()
        if key not in self._known:
            self._known[key] = len(self.uris)
            self.uris.append(to_uri(picture))
        return self._known[key]


def _run_data(
    run: Run, usage: ExpertUsage | None, max_images: int, shared: _Pictures
) -> dict[str, Any]:
    """Returns what the script needs: pictures, figures for the caption, experts."""
    images = []
    for name, row in run.rows.items():
        if len(images) == max_images:
            break
        pictures = load_pictures(run, name)
        if not {"lq", "restored"} <= set(pictures):
            continue
        image: dict[str, Any] = {
            "name": printable(name),
            "height": pictures["restored"].shape[0],
            "width": pictures["restored"].shape[1],
            "thumbnail": thumbnail_uri(pictures["restored"]),
            "pictures": {kind: shared.add(picture) for kind, picture in pictures.items()},
            "caption": sections.caption(row),
        }
        if usage and name in usage.image_names:
            image["experts"] = usage.expert[:, usage.image_names.index(name)].tolist()
        images.append(image)
    return {
        "label": printable(run.label),
        "images": images,
        "omitted": len(run.rows) - len(images),
        "experts": list(usage.expert_names) if usage else [],
        "colors": list(charts.EXPERT_COLORS),
    }


def _inside(inside: Inside) -> str:
    return (
        sections.decay(inside.decay)
        + sections.silenced(inside.silenced)
        + sections.window_choices(inside.choices)
        + sections.thresholds(inside.thresholds)
        + sections.attributions(inside.attributions)
    )
