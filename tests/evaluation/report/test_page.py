"""The report: its data, its charts, and the page itself in a real browser."""

import html
import html.parser
import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest

from armoe_jax.cli import main
from armoe_jax.evaluation.analysis import Attribution, ExpertUsage
from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.evaluation.report import Inside, charts, load_run, write_report
from armoe_jax.evaluation.report.pictures import load_pictures
from armoe_jax.images.io import write_image
from armoe_jax.metrics import bd_rate
from input_pipeline.example import Pair

NAMES = ("alpha", "beta", "<gamma>&")
QUALITIES = (10, 30, 50, 80)


def make_run(folder: Path, quality: int, *, count: int = 3) -> Path:
    """Codes small pictures as JPEG, "restores" them half-way, and writes what evaluate writes."""
    rng = np.random.default_rng(0)
    pairs, images = [], []
    for name in NAMES[:count]:
        noise = cv2.GaussianBlur(rng.random((48, 64, 3)), (0, 0), 1.5)
        gt = np.rint(255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
        _, data = cv2.imencode(".jpg", gt, [cv2.IMWRITE_JPEG_QUALITY, quality])
        lq = cv2.imdecode(data, cv2.IMREAD_COLOR)
        pairs.append(Pair(name, lq, gt))
        images.append({"name": name, "qp": quality, "bpp": 8 * data.size / 48 / 64})
        write_image(folder / "lq" / f"{name}.png", lq)
        write_image(folder / "gt" / f"{name}.png", gt)
    originals = {pair.lq.tobytes(): pair.gt for pair in pairs}

    def halfway(lq):
        return np.rint((lq.astype(float) + originals[lq.tobytes()]) / 2).astype(np.uint8)

    record = evaluate_pairs(halfway, pairs, save_images=folder / "restored").to_dict()
    record["expert_names"] = ["dct", "fft"]
    for i, image in enumerate(record["images"]):
        image["expert"] = [0, i % 2, 1]
    (folder / "evaluation.json").write_text(json.dumps(record))
    (folder / "manifest.json").write_text(json.dumps({"codec": "jpeg", "images": images}))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [make_run(root / f"q{quality}", quality) for quality in QUALITIES]


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory):
    """A report with everything in it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    spots = np.zeros((32, 32))
    spots[10:14, 10:14] = 1
    attribution = Attribution(spots, (8, 8, 16), 12.5, 1.0, 0.99)
    inside = Inside(
        decay=np.linspace(0, 1, 3 * 8 * 8).reshape(3, 8, 8),
        attributions={"alpha": (np.zeros((32, 32, 3), np.uint8), attribution)},
    )
    write_report(path, [load_run(folder) for folder in folders], max_images=2, inside=inside)
    return path


class TestRuns:
    def test_everything_beside_the_record_is_found(self, folders):
        run = load_run(folders[0])
        assert run.label == "JPEG quality 10"
        assert (run.codec, run.qp) == ("jpeg", 10)
        assert set(run.folders) == {"lq", "gt", "restored"}
        assert run.picture("gt", "alpha") == folders[0] / "gt" / "alpha.png"
        assert run.picture("gt", "delta") is None
        assert run.experts["beta"] == [0, 1, 1]

    def test_figures_and_gain(self, folders):
        run = load_run(folders[0] / "evaluation.json")
        record = json.loads((folders[0] / "evaluation.json").read_text())
        row = record["images"][0]
        assert run.rows["alpha"]["psnr_y"] == row["psnr_y"]
        assert run.rows["alpha"]["gain_psnr_y"] == row["psnr_y"] - row["lq_psnr_y"]
        # Halving every error is worth 20 log10 2 = 6.02 dB; rounding takes a little.
        assert run.means["gain_psnr_y"] == pytest.approx(6.02, abs=0.15)
        bpp = [run.rows[name]["bpp"] for name in NAMES]
        assert run.means["bpp"] == pytest.approx(sum(bpp) / 3)

    def test_folders_can_be_given(self, folders, tmp_path):
        record = tmp_path / "some.json"
        shutil.copy(folders[1] / "evaluation.json", record)
        assert load_run(record).folders == {}
        run = load_run(record, lq=folders[1] / "lq", restored=folders[1] / "restored", label="mine")
        # The originals and rates lie beside the coded images, as build-dataset leaves them.
        assert run.folders["gt"] == folders[1] / "gt"
        assert (run.label, run.qp) == ("mine", 30)
        assert run.rows["alpha"]["bpp"] > 0

    def test_relative_folders_in_the_record(self, folders, tmp_path):
        record = json.loads((folders[0] / "evaluation.json").read_text())
        record |= {"lq_dir": "a/lq", "label": "with folders", "codec": "vvc", "qp": 27}
        (tmp_path / "r.json").write_text(json.dumps(record))
        shutil.copytree(folders[0] / "lq", tmp_path / "a" / "lq")
        run = load_run(tmp_path)
        assert run.folders["lq"] == tmp_path / "a" / "lq"
        assert (run.label, run.codec, run.qp) == ("with folders", "vvc", 27)

    def test_missing_figures(self, tmp_path):
        rows = [{"name": "a", "psnr_y": None, "lq_psnr_y": 30.0}, {"name": "b", "psnr_y": 31.0}]
        (tmp_path / "evaluation.json").write_text(json.dumps({"images": rows}))
        run = load_run(tmp_path)
        assert run.rows["a"]["gain_psnr_y"] is None
        assert run.means["psnr_y"] is None
        write_report(tmp_path / "r.html", [run])
        assert "&ndash;" in (tmp_path / "r.html").read_text()

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"images": []}', '{"images": [{"name": "a"}]}', '{"images": [1]}']
    )
    def test_not_an_evaluation(self, tmp_path, text):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=r"x\.json: not"):
            load_run(tmp_path / "x.json")
        with pytest.raises(FileNotFoundError, match="holds 0 evaluations"):
            load_run(tmp_path)

    def test_nothing_there(self, tmp_path, folders):
        with pytest.raises(FileNotFoundError, match="no such evaluation"):
            load_run(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="of lq images"):
            load_run(folders[0], lq=tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="no such manifest"):
            load_run(folders[0], manifest=tmp_path / "none")


class TestPictures:
    def test_small_inputs_are_enlarged_and_gray_gets_colors(self, tmp_path):
        write_image(tmp_path / "lq" / "a.png", np.full((4, 6), 100, np.uint8))
        write_image(tmp_path / "restored" / "a.png", np.full((8, 12), 100, np.uint8))
        write_image(tmp_path / "gt" / "a.png", np.full((9, 12), 65535, np.uint16))
        (tmp_path / "evaluation.json").write_text('{"images": [{"name": "a", "psnr_y": 1.0}]}')
        pictures = load_pictures(load_run(tmp_path), "a")
        assert {picture.shape for picture in pictures.values()} == {(8, 12, 3)}
        assert {int(pictures[kind][0, 0, 0]) for kind in pictures} == {100, 255}

    def test_sizes_that_do_not_fit(self, tmp_path):
        write_image(tmp_path / "lq" / "a.png", np.zeros((4, 6), np.uint8))
        write_image(tmp_path / "restored" / "a.png", np.zeros((4, 8), np.uint8))
        (tmp_path / "evaluation.json").write_text('{"images": [{"name": "a", "psnr_y": 1.0}]}')
        with pytest.raises(ValueError, match="6x4 pixels, the restored picture has 8x4"):
            load_pictures(load_run(tmp_path), "a")


class TestCharts:
    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [
            (0.3, 1.2, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2]),  # 0.18 -> 0.2 apart
            (31.0, 39.0, [30, 32, 34, 36, 38, 40]),  # 1.6 -> 2
            (5.0, 5.0, [4.4, 4.6, 4.8, 5, 5.2, 5.4, 5.6]),
        ],
    )
    def test_ticks(self, low, high, expected):
        ticks = charts.ticks(low, high)
        assert ticks[0] <= low <= high <= ticks[-1]
        if low != high:
            assert ticks == pytest.approx(expected)

    def test_points_lie_where_they_should(self):
        series = charts.Series("a <b>", [1.0, 0.0], [10.0, 0.0])
        svg = ET.fromstring(charts.line_chart([series], x_label="x", y_label="y"))
        circles = svg.findall("{*}circle")
        place = [(float(c.get("cx")), float(c.get("cy"))) for c in circles]
        # Margins: 62 left, 18 right of 560; 16 top, 48 bottom of 360.
        assert place == [(62.0, 312.0), (542.0, 16.0)]
        assert "a <b>: 0, 0" in circles[0].findtext("{*}title", "")

    def test_usage(self):
        shares = np.array([[0.25, 0.75], [0.0, 1.0]])
        svg = ET.fromstring(charts.usage_chart(shares, ["dct", "fft"]))
        titles = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}title")]
        assert titles == ["layer 0: dct 25 %", "layer 0: fft 75 %", "layer 1: fft 100 %"]

    def test_routing(self):
        svg = ET.fromstring(
            charts.routing_chart(np.array([[0, 1], [1, 1]]), ["dct", "fft"], ["a", "b"])
        )
        cells = {
            rect.findtext("{*}title"): rect.get("fill")
            for rect in svg.findall("{*}rect")
            if rect.findtext("{*}title")
        }
        assert cells["a, layer 0: dct"] == charts.EXPERT_COLORS[0]
        assert cells["b, layer 1: fft"] == charts.EXPERT_COLORS[1]
        assert len(cells) == 4

    def test_no_points(self):
        with pytest.raises(ValueError, match="at least one point"):
            charts.line_chart([], x_label="", y_label="")


class _Scripts(html.parser.HTMLParser):
    """Collects what stands in scripts."""

    def __init__(self):
        super().__init__()
        self.scripts, self._inside = [], False

    def handle_starttag(self, tag, attrs):
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data


class TestPage:
    def test_loads_nothing(self, page):
        """No address of any other thing than embedded pictures and SVG's own name."""
        text = page.read_text()
        addresses = set(re.findall(r"(?:https?:)?//[\w.]+[^\s\"'<]*", text.split('id="data">')[0]))
        assert addresses == {"http://www.w3.org/2000/svg"}
        assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
        assert "Content-Security-Policy" in text

    def test_names_are_escaped(self, page):
        text = page.read_text()
        assert "&lt;gamma&gt;&amp;" in text
        assert "<gamma>" not in text.split('id="data">')[0]

    @pytest.mark.parametrize("name", ["c<!--<script>", os.fsdecode(b"caf\xe9"), "a\r\n</script>"])
    def test_names_do_not_break_the_page(self, tmp_path, name):
        file = f"{name}.png".replace("/", "")
        for kind in ("lq", "restored"):
            write_image(tmp_path / kind / file, np.zeros((4, 4, 3), np.uint8))
        images = [{"name": file.removesuffix(".png"), "psnr_y": 30.0}]
        (tmp_path / "evaluation.json").write_text(json.dumps({"images": images, "label": name}))
        write_report(tmp_path / "r.html", [load_run(tmp_path)])
        page = tmp_path.joinpath("r.html").read_bytes().decode()
        reader = _Scripts()
        reader.feed(page)
        # As a browser cuts it: two scripts, the first of which is the data, without a "<".
        data, code = reader.scripts
        assert "<" not in data
        assert code.strip().startswith('"use strict"')
        run = json.loads(data)["runs"][0]
        shown = html.unescape(re.search(r"data-run='([^']*)' data-image='([^']*)'", page)[2])
        assert run["images"][0]["name"] == shown
        assert shown.isprintable()

    def test_shared_originals_are_embedded_once(self, page):
        text = page.read_text()
        data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))
        # 4 runs of 2 pictures, coded and restored, and 2 originals.
        assert len(data["pictures"]) == 4 * 2 * 2 + 2
        assert [run["omitted"] for run in data["runs"]] == [1] * 4

    def test_bd_rate(self, page, folders):
        runs = [load_run(folder) for folder in folders]
        rate, before, after = (
            [run.means[name] for run in runs] for name in ("bpp", "lq_psnr_y", "psnr_y")
        )
        assert f"{bd_rate(rate, before, rate, after):+.2f} %" in page.read_text()

    def test_one_run_without_pictures(self, folders, tmp_path):
        shutil.copy(folders[0] / "evaluation.json", tmp_path / "evaluation.json")
        usage = ExpertUsage(("dct", "fft"), NAMES, np.zeros((3, 3), np.int32))
        write_report(tmp_path / "r.html", [load_run(tmp_path)], inside=Inside(usage={"x": usage}))
        text = (tmp_path / "r.html").read_text()
        assert "No pictures" in text
        assert 'id="curves"' not in text

    def test_no_runs(self, tmp_path):
        with pytest.raises(ValueError, match="at least one"):
            write_report(tmp_path / "r.html", [])
        assert list(tmp_path.iterdir()) == []


class TestCommand:
    def test_report(self, folders, tmp_path, capsys):
        out = tmp_path / "report.html"
        words = ["report", *map(str, folders[:2]), "-o", str(out), "--label", "one", "two"]
        assert main([*words, "--title", "T & U", "--max-images", "1"]) == 0
        assert "2 evaluations of 6 images" in capsys.readouterr().out
        assert "<title>T &amp; U</title>" in out.read_text()
        assert "one · two" in out.read_text()

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--label", "a", "b", "c"], "--label has 3 values"),
            (["--max-images", "-1"], "negative"),
            (["--attribution", "1"], "needs --checkpoint"),
            (["--checkpoint", "nowhere"], "nowhere"),
        ],
    )
    def test_bad_usage(self, folders, tmp_path, capsys, flags, message):
        words = ["report", *map(str, folders[:2]), "-o", str(tmp_path / "r.html")]
        assert main([*words, *flags]) == 2
        assert message in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_looks_inside(self, folders, tmp_path):
        import jax
        import jax.numpy as jnp

        from armoe_jax.checkpoints.folder import save_model
        from armoe_jax.models import ARMoEConfig, build_model

        config = ARMoEConfig(
            embed_dim=32, depth=(1,), num_heads=(2,), mlp_ratio=2.0, split_size=(4, 8), upscale=1
        )
        init = jax.jit(build_model(config).init)
        variables = init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
        save_model(tmp_path / "model", config, variables, provenance={})
        record = json.loads((folders[0] / "evaluation.json").read_text())
        for image in record["images"]:
            del image["expert"]
        (tmp_path / "e.json").write_text(json.dumps(record))
        words = ["report", str(tmp_path / "e.json"), "-o", str(tmp_path / "r.html")]
        words += ["--lq", str(folders[0] / "lq"), "--checkpoint", str(tmp_path / "model")]
        assert main([*words, "--attribution", "1", "--attribution-crop", "16"]) == 0
        text = (tmp_path / "r.html").read_text()
        assert all(f'id="{part}"' in text for part in ("experts", "decay", "attribution"))


CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1200,1000 "
    # Nothing outside can be reached: the page must not need it.
    "--proxy-server=127.0.0.1:9"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium, offline."""
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium and chromedriver (Debian: chromium, chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in CHROMIUM_FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


@pytest.fixture
def view(browser, page):
    """The loaded page."""
    browser.get_log("browser")  # empties it
    browser.get(page.as_uri())
    return View(browser)


class View:
    """What a person would do with the page."""

    def __init__(self, browser):
        self.browser = browser
        self.wait()

    def find(self, name):
        return self.browser.find_element("id", name)

    def wait(self):
        from selenium.webdriver.support.ui import WebDriverWait

        ready = "return document.getElementById('viewer').dataset.ready === 'true'"
        WebDriverWait(self.browser, 60).until(lambda b: b.execute_script(ready))

    def split(self):
        return float(self.find("slider").get_attribute("aria-valuenow"))

    def press(self, *keys):
        for key in keys:
            self.find("slider").send_keys(key)

    def pixel(self, side, x, y):
        script = (
            f"const c = document.querySelector('#layer-{side} canvas');"
            f"return [...c.getContext('2d').getImageData({x}, {y}, 1, 1).data.slice(0, 3)];"
        )
        return self.browser.execute_script(script)

    def choose(self, name, value):
        from selenium.webdriver.support.ui import Select

        Select(self.find(name)).select_by_value(value)
        self.wait()

    def column(self, index):
        script = (
            "return [...document.querySelectorAll('#metrics tbody tr')]"
            f".map((row) => row.cells[{index}].textContent);"
        )
        return self.browser.execute_script(script)

    def sort(self, index):
        button = self.browser.find_elements("css selector", "#metrics thead button")[index]
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()


class TestInBrowser:
    def test_keyboard_moves_the_slider(self, view):
        from selenium.webdriver.common.keys import Keys

        assert view.split() == 50
        view.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert view.split() == 52
        view.press(Keys.SHIFT + Keys.ARROW_LEFT)
        assert view.split() == 42
        view.press(Keys.HOME)
        assert view.split() == 0
        view.press(Keys.END)
        assert view.split() == 100
        clip = view.find("layer-right").value_of_css_property("clip-path")
        assert "100%" in clip

    def test_mouse_and_touch_move_the_slider(self, view):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        viewer = view.find("viewer")
        width = viewer.size["width"]
        actions = ActionChains(view.browser)
        actions.click_and_hold(view.find("slider")).move_by_offset(width // 4, 0).release()
        actions.perform()
        assert view.split() == pytest.approx(75, abs=1)
        touch = ActionBuilder(view.browser, mouse=PointerInput(POINTER_TOUCH, "finger"))
        touch.pointer_action.move_to(viewer, -width // 4, 0).pointer_down()
        touch.pointer_action.move_to(viewer, -width // 3, 0).pointer_up()
        touch.perform()
        assert view.split() == pytest.approx(100 * (1 / 2 - 1 / 3), abs=2)

    def test_pictures_are_exact(self, view, folders):
        from armoe_jax.images.io import read_image

        for side, kind in (("left", "lq"), ("right", "restored")):
            pixels = read_image(folders[0] / kind / "alpha.png").pixels
            for x, y in ((0, 0), (63, 47), (20, 30)):
                assert view.pixel(side, x, y) == pixels[y, x].tolist()

    def test_error_map(self, view):
        """Identical pixels are black; the map changes with its amplification."""
        view.choose("left", "errorLq")
        view.choose("right", "improvement")
        assert view.find("amplify-label").is_displayed()
        before = [view.pixel("left", x, 20) for x in range(0, 64, 4)]
        view.browser.execute_script(
            "const a = document.getElementById('amplify'); a.value = 20;"
            "a.dispatchEvent(new Event('input'));"
        )
        view.wait()
        after = [view.pixel("left", x, 20) for x in range(0, 64, 4)]
        # Brighter where there is an error, never darker.
        assert all(sum(b) >= sum(a) for a, b in zip(before, after, strict=True))
        assert before != after
        assert view.find("tag-right").text == "Improvement"

    def test_zoom(self, view):
        assert view.find("zoom-value").text == "fit"
        view.find("zoom-in").click()
        assert view.find("zoom-value").text.endswith("%")
        view.press("+")
        assert "zoomed" in view.find("viewer").get_attribute("class")
        view.press("0")
        assert view.find("zoom-value").text == "fit"

    def test_table_sorts(self, view):
        original = view.column(3)
        view.sort(3)
        rising = [float(text) for text in view.column(3)]
        assert rising == sorted(rising)
        view.sort(3)
        falling = [float(text) for text in view.column(3)]
        assert falling == sorted(falling, reverse=True)
        assert sorted(original) == sorted(view.column(3))
        view.sort(0)
        names = view.column(0)
        assert names == sorted(names, key=str.casefold) or names[0] == "<gamma>&"
        state = view.browser.find_elements("css selector", "#metrics thead th")
        assert [th.get_attribute("aria-sort") for th in state[:4]] == [
            "ascending", "none", "none", "none"
        ]  # fmt: skip

    def test_images_and_runs(self, view):
        assert view.find("image-name").text == "alpha"
        view.press("]")
        view.wait()
        assert view.find("image-name").text == "beta"
        assert len(view.browser.find_elements("css selector", "#image-experts span")) == 3
        label = view.find("experts-label").text
        assert label.startswith("Experts, first layer to last: ")
        # Each of the three layers took one expert.
        assert sum(int(part.split(" in ")[1]) for part in label.split(": ")[1].split(", ")) == 3
        view.choose("run", "2")
        assert view.find("image-name").text == "beta"
        row = "#metrics tbody tr[data-run='JPEG quality 80'][data-image='alpha']"
        view.browser.execute_script(f'document.querySelector("{row}").click()')
        view.wait()
        assert view.find("image-name").text == "alpha"
        assert view.find("run").get_attribute("value") == "3"

    def test_narrow_screens_do_not_scroll_sideways(self, view):
        view.browser.set_window_size(500, 900)
        script = "return document.documentElement.scrollWidth <= window.innerWidth"
        assert view.browser.execute_script(script)
        view.browser.set_window_size(1200, 1000)

    def test_console_is_silent(self, view):
        """Also of what the browser reports about refused loads."""
        view.press("]", "[", "+", "0")
        view.choose("left", "gt")
        assert view.browser.get_log("browser") == []
