"""Makes the figures of the README from the shipped weights and photographs inside scikit-image.

python scripts/maintain/make_figures.py

Writes docs/figures: before_after.png (a JPEG of quality 10, restored by `armoe-jax restore`),
network.svg, and the badges, whose facts come from pyproject.toml. Run it when weights change.
"""

import argparse
import io
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from armoe_jax import cli
from armoe_jax.metrics import psnr, ssim
from armoe_jax.runtime.files import write_atomically
from input_pipeline.embedded import embedded_images

ROOT = Path(__file__).parents[2]

QUALITY = 10
PHOTOGRAPH = "chelsea"
CROP = (40, 85, 232, 168)
"""Left, top, width and height of the part that is shown at its own size."""
DETAIL = (104, 4, 58, 50)
"""The same, inside the crop, of the part that is enlarged below."""
GAP = 4

INK, PAPER, LINE = "#1f2328", "#ffffff", "#57606a"
PLAIN, ACCENT, EXPERT = "#eef1f4", "#fff3d6", "#dbeafe"


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the figures; returns 0."""
    parser = argparse.ArgumentParser(description="Makes the figures of the README.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures", metavar="DIR")
    parser.add_argument("--only", nargs="*", choices=FIGURES, default=list(FIGURES))
    args = parser.parse_args(argv)
    for name in args.only:
        data = FIGURES[name]()
        write_atomically(args.out / name, data)
        sys.stdout.write(f"{args.out / name}: {len(data) / 1000:.0f} kB\n")
    return 0


def before_after() -> bytes:
    """Returns a PNG: coded, restored and original photograph, and a part of each enlarged."""
    (path,) = (path for path in embedded_images("eval") if path.stem == PHOTOGRAPH)
    original = np.asarray(Image.open(path).convert("RGB"))
    coded, restored = code_and_restore(original)
    columns = [
        (f"JPEG quality {QUALITY}", coded),
        ("restored", restored),
        ("original", original),
    ]
    panels = [_panel(title, image, original) for title, image in columns]
    sheet = Image.new("RGB", (sum(p.width for p in panels) + 2 * GAP, panels[0].height), PAPER)
    for i, panel in enumerate(panels):
        sheet.paste(panel, (i * (panel.width + GAP), 0))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def code_and_restore(original: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a photograph as a JPEG of `QUALITY`, and what the command makes of that file."""
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "photo.jpg", Path(name) / "restored.png"
        Image.fromarray(original).save(source, quality=QUALITY)
        status = cli.main(["restore", str(source), "-o", str(target)])
        if status:
            raise RuntimeError(f"armoe-jax restore ended with status {status}")
        return (np.asarray(Image.open(source)), np.asarray(Image.open(target)))


def _panel(title: str, image: np.ndarray, original: np.ndarray) -> Image.Image:
    left, top, width, height = CROP
    x, y, part_width, part_height = DETAIL
    photograph = Image.fromarray(image[top : top + height, left : left + width])
    detail = photograph.crop((x, y, x + part_width, y + part_height))
    scale = width // part_width
    detail = detail.resize((width, part_height * scale), Image.Resampling.NEAREST)
    ImageDraw.Draw(photograph).rectangle((x, y, x + part_width, y + part_height), outline="#ffd33d")
    font = ImageFont.load_default(size=13)
    panel = Image.new("RGB", (width, height + GAP + detail.height + 40), PAPER)
    panel.paste(photograph, (0, 0))
    panel.paste(detail, (0, height + GAP))
    draw = ImageDraw.Draw(panel)
    draw.text((2, panel.height - 37), title, INK, font)
    if image is not original:
        figures = f"{psnr(image, original):.2f} dB, SSIM {ssim(image, original):.3f}"
        draw.text((2, panel.height - 19), figures, LINE, font)
    return panel


class Drawing:
    """An SVG in the making; positions are of centers, in pixels."""

    def __init__(self, width: int, height: int):
        self._size = (width, height)
        self._parts: list[str] = []

    def text(self, x: float, y: float, words: str, *, size: int = 13, color: str = INK) -> None:
        """Writes lines of text around a point."""
        lines = words.split("\n")
        for i, line in enumerate(lines):
            at = y + (i - (len(lines) - 1) / 2) * size * 1.25 + size * 0.35
            self._parts.append(
                f'<text x="{x:g}" y="{at:.4g}" font-size="{size}" fill="{color}" '
                f'text-anchor="middle">{escape(line)}</text>'
            )

    def box(
        self, x: float, y: float, width: float, height: float, words: str, fill: str = PLAIN
    ) -> None:
        """Draws a labelled box."""
        self.frame(x, y, width, height, fill)
        self.text(x, y, words)

    def frame(
        self, x: float, y: float, width: float, height: float, fill: str, dash: str = "none"
    ) -> None:
        """Draws a box without a label."""
        self._parts.append(
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" '
            f'height="{height:g}" rx="5" fill="{fill}" stroke="{LINE}" stroke-dasharray="{dash}"/>'
        )

    def arrow(self, *points: tuple[float, float], dash: str = "none") -> None:
        """Draws a line through points that ends in an arrow."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.4" '
            f'stroke-dasharray="{dash}" marker-end="url(#tip)"/>'
        )

    def to_svg(self) -> bytes:
        """Returns the file."""
        width, height = self._size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">\n'
            '<defs><marker id="tip" markerWidth="7" markerHeight="7" refX="6" refY="3" '
            f'orient="auto"><path d="M0,0 L6,3 L0,6 z" fill="{LINE}"/></marker></defs>\n'
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
        )
        return (head + "\n".join(self._parts) + "\n</svg>\n").encode()


def network() -> bytes:
    """Returns an SVG: the network, one of its blocks, and the mixture with its router."""
    d = Drawing(820, 470)
    _draw_network(d, y=52)
    _draw_block(d, y=150)
    _draw_mixture(d, top=205)
    return d.to_svg()


def _draw_network(d: Drawing, *, y: float) -> None:
    d.text(52, y, "decoded\nimage")
    d.box(160, y, 96, 40, "convolution")
    for x in (300, 308, 316):
        d.frame(x, y - (x - 308) / 2, 92, 44, ACCENT)
    d.text(316, y - 4, "blocks", size=14)
    d.box(480, y, 96, 40, "convolution")
    d.text(614, y, "+", size=22)
    d.text(730, y, "restored\nimage")
    for start, end in ((84, 112), (208, 252), (364, 432), (528, 602), (628, 690)):
        d.arrow((start, y), (end, y))
    d.arrow((96, y), (96, y - 36), (614, y - 36), (614, y - 12), dash="4 3")
    d.text(490, y - 43, "global skip (small networks)", size=11, color=LINE)


def _draw_block(d: Drawing, *, y: float) -> None:
    d.frame(410, y, 790, 62, "#fffaf0", dash="5 4")
    d.text(54, y, "one block", size=14)
    d.box(212, y, 184, 40, "window attention\n(ARMoE-W: convolutions)")
    d.box(396, y, 120, 40, "feed-forward,\nspatial gate")
    d.box(556, y, 140, 40, "mixture of experts", ACCENT)
    d.box(714, y, 116, 40, "feed-forward,\nspatial gate")
    for start, end in ((94, 118), (304, 334), (456, 484), (626, 654), (772, 796)):
        d.arrow((start, y), (end, y))
    d.arrow((316, 76), (316, y - 33), dash="2 3")


def _draw_mixture(d: Drawing, *, top: float) -> None:
    d.frame(410, top + 132, 790, 250, "#fffdf7", dash="5 4")
    d.arrow((556, top - 35), (556, top + 7), dash="2 3")
    middle = top + 150
    d.text(68, middle, "features of\nthe image\n(ARMoE-W: of\neach window)")
    d.box(215, top + 45, 150, 46, "router: mean, small\nnetwork, softmax", ACCENT)
    d.text(420, top + 32, "chooses one expert: only that one runs", size=12, color=LINE)
    experts = (
        ("DCT", "cosines, weigh, back"),
        ("FFT", "waves, weigh, back"),
        ("Haar", "wavelets, weigh, back"),
        ("SWT", "wavelets undecimated, weigh"),
    )
    for i, (name, basis) in enumerate(experts):
        y = top + 105 + 40 * i
        chosen = name == "FFT"
        d.box(430, y, 270, 32, f"{name}: {basis}", EXPERT if chosen else PLAIN)
        dash = "none" if chosen else "3 3"
        d.arrow((128, middle), (200, middle), (270, y), (294, y), dash=dash)
        d.arrow((566, y), (590, y), (640, middle), (668, middle), dash=dash)
    d.arrow((128, middle), (150, middle), (150, top + 69))
    d.arrow((291, top + 45), (430, top + 45), (430, top + 87))
    d.box(730, middle, 120, 46, "times gate,\nprojection")


def badge(label: str, value: str) -> bytes:
    """Returns a badge as SVG; it states a fact and asks no service."""
    left, right = 7 * len(label) + 14, 7 * len(value) + 14
    d = Drawing(left + right, 20)
    d.frame(left / 2, 10, left, 20, INK)
    d.frame(left + right / 2, 10, right, 20, "#0969da")
    d.text(left / 2, 10, label, size=11, color=PAPER)
    d.text(left + right / 2, 10, value, size=11, color=PAPER)
    return d.to_svg()


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def license_badge() -> bytes:
    """Returns the badge of the code's licence."""
    return badge("code", _project()["license"].split(" AND ")[0])


def python_badge() -> bytes:
    """Returns the badge of the Python versions."""
    return badge("python", _project()["requires-python"].replace(">=", "") + "+")


def jax_badge() -> bytes:
    """Returns the badge of the JAX versions."""
    requirement = next(r for r in _project()["dependencies"] if r.startswith("jax>="))
    return badge("jax", requirement.removeprefix("jax>=") + "+")


FIGURES: dict[str, Callable[[], bytes]] = {
    "before_after.png": before_after,
    "network.svg": network,
    "license.svg": license_badge,
    "python.svg": python_badge,
    "jax.svg": jax_badge,
}
"""File name -> what makes it."""

if __name__ == "__main__":
    sys.exit(main())
