"""Parts of a report, from figures that are made up."""

import re

import numpy as np
import pytest

from armoe_jax.evaluation.analysis import Attribution, ExpertUsage
from armoe_jax.evaluation.report import sections
from armoe_jax.evaluation.report.runs import Run
from armoe_jax.evaluation.windowed import WindowChoices


def run(label="a", *, bpp=None, before=30.0, after=31.25, codec="jpeg", **rows):
    figures = {"lq_psnr_y": before, "psnr_y": after, "gain_psnr_y": after - before}
    figures["bpp"] = bpp
    return Run(label, rows or {"x": figures}, figures, codec=codec)


def cells(html, tag):
    return re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html)


def test_cards_tell_the_mean_gain_and_its_sign():
    better = run("<b>")
    worse = run("c", after=29.5)
    html = sections.summary([better, worse])
    assert cells(html, "h3") == ["&lt;b&gt;", "c"]
    assert '<p class="figure good">+1.25 dB</p>' in html
    assert '<p class="figure bad">-0.50 dB</p>' in html
    assert html.count("mean gain, 1 image<") == 2
    assert "<li>30.000 → <b>31.250</b> dB PSNR-Y</li><li>- → <b>-</b> SSIM-Y</li>" in html


def test_a_caption_has_before_after_and_gain_where_both_are_known():
    row = {"lq_psnr_y": 30.0, "psnr_y": 31.25, "ssim_y": 0.9, "bpp": 0.12345}
    heading, rate = sections.caption(row)
    assert heading[0].startswith("PSNR-Y")
    assert [float(part) for part in heading[1].split(" → ")] == [30.0, 31.25]
    assert float(heading[2]) == 1.25
    assert rate == ["rate", "0.123 bit/pixel", ""]


def test_bd_figures_of_each_codec_with_four_qualities():
    # Everywhere one decibel better at the same rate.
    jpeg = [run(f"j{n}", bpp=0.2 * 2**n, before=28.0 + n, after=29.0 + n) for n in range(4)]
    hevc = [run(f"h{n}", bpp=0.1 * 2**n, codec="hevc") for n in range(3)]
    html = sections.curves([*jpeg[::-1], *hevc])
    (row,) = re.findall(r"<tr><th>JPEG</th>(.*?)</tr>", html)
    rate, psnr = cells(row, "td")
    assert psnr == "+1.000 dB"
    # One decibel is worth one doubling of the rate here: half of it is saved.
    assert rate == "-50.00 %"
    # Of 28 to 32 dB, 29 to 31 are in both.
    assert "PSNR that both curves have: JPEG 50%" in html
    assert "HEVC</th>" not in html
    assert "BD-rate needs 4 qualities" in sections.curves(hevc)
    assert "One operating point" in sections.curves(hevc[:1])
    assert sections.curves([run()]) == ""


def test_curves_that_do_not_meet_say_so():
    far = [run(f"j{n}", bpp=0.2 * 2**n, before=20.0 + n, after=60.0 + n) for n in range(4)]
    html = sections.curves(far)
    assert "not defined: " in html


def test_the_table_has_known_figures_first_and_a_row_of_means():
    rows = {"x": {"speed": 2.0, "psnr_y": 31.0}, "<y>": {"psnr_y": None, "lq_psnr_y": 30.0}}
    html = sections.table([Run("a", rows, {"psnr_y": 31.0})])
    names = [re.sub("<.*", "", head) for head in cells(html, "button")]
    assert names == ["image", "PSNR-Y (dB)", "PSNR-Y (dB)", "speed"]
    assert [cells(part, "small") for part in cells(html, "button")[1:3]] == [
        ['input<span class="arrow" aria-hidden="true"></span>'],
        ['restored<span class="arrow" aria-hidden="true"></span>'],
    ]
    assert [re.sub("<.*", "", th) for th in re.findall(r"<th scope='row'>(.*?)</th>", html)] == [
        *("x", "&lt;y&gt;", "mean"),
    ]
    assert html.count("<td data-value=''>&ndash;</td>") == 5
    # Of several runs each row tells its run.
    assert "<td class='text'>a</td>" not in html
    assert "<td class='text'>a</td>" in sections.table([run("a"), run("b")])


def test_usage_has_its_entropy():
    # Two layers: one bit, as both experts are taken alike, and none.
    usage = ExpertUsage(("dct", "fft"), ("x", "y"), np.array([[0, 1], [0, 0]], np.int32))
    html = sections.experts({"<run>": usage})
    assert "Mean entropy 0.50 bit of 1.00" in html
    assert "Share of images" in html
    assert "&lt;run&gt;" in html
    assert sections.experts({}) == ""


def test_what_is_left_of_the_gain():
    html = sections.silenced({"a": {"whole": 0.5, "mixture": 0.1, "dct": 0.3}})
    rows = [cells(row, "td") for row in re.findall(r"<tr>(<td>.*?)</tr>", html)]
    assert rows == [
        ["a", "none", "+0.500", "+0.000"],
        ["a", "all experts", "+0.100", "-0.400"],
        ["a", "dct", "+0.300", "-0.200"],
    ]
    assert sections.silenced({}) == ""


def test_a_picture_for_every_layer():
    choices = WindowChoices(("dct", "<s>"), np.zeros((3, 2, 2), np.int32), 4)
    html = sections.window_choices({"x": (np.zeros((8, 8, 3), np.uint8), choices)})
    assert re.findall(r"layer (\d)<", html) == ["0", "1", "2"]
    assert "&lt;s&gt;" in html
    assert sections.window_choices({}) == ""
    maps = np.array([np.full((2, 2), 0.25), np.full((2, 2), 1.0)])
    assert re.findall(r"mean ([\d.]+)", sections.decay(maps)) == ["0.25", "1.00"]
    assert sections.decay(None) == ""


def test_thresholds_are_squares_of_frequencies_or_rows_of_bands():
    html = sections.thresholds({"dct": np.full((1, 4), 0.5), "swt": np.array([[0.25] * 7])})
    assert "pale yellow 0.50" in html
    assert re.findall(r"(\w+), layer 0<small>mean ([\d.]+)", html) == [
        ("dct", "0.500"),
        ("swt", "0.250"),
    ]
    assert sections.thresholds({}) == ""


def test_attribution_shows_its_patch():
    result = Attribution(np.eye(4), (1, 2, 3), 12.5, 1.0, 0.987)
    html = sections.attributions({"x": (np.zeros((8, 8, 3), np.uint8), result)})
    assert 'viewBox="0 0 8 8"' in html
    assert '<rect x="2" y="1" width="3" height="3"' in html
    assert "diffusion index 12.5, completeness 0.99" in html


@pytest.mark.parametrize("images", [[], [{"name": "x"}]])
def test_the_viewer_is_there_where_there_are_pictures(images):
    html = sections.comparison({"runs": [{"images": images}]})
    assert ("No pictures" in html) == (not images)
    assert ('id="viewer"' in html) == bool(images)
