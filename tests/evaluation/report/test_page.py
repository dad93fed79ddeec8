"""The report: its data, its charts, and the page itself in a real browser."""

import html
import html.parser
import json
import os
import re
import shutil

import numpy as np
import pytest

from armoe_jax.evaluation.analysis import Attribution, ExpertUsage
from armoe_jax.evaluation.report import Inside, load_run, write_report
from armoe_jax.images.io import write_image
from armoe_jax.metrics import bd_rate


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
        usage = ExpertUsage(("dct", "fft"), ("alpha", "beta", "gamma"), np.zeros((3, 3), np.int32))
        write_report(tmp_path / "r.html", [load_run(tmp_path)], inside=Inside(usage={"x": usage}))
        text = (tmp_path / "r.html").read_text()
        assert "No pictures" in text
        assert 'id="curves"' not in text

    def test_no_runs(self, tmp_path):
        with pytest.raises(ValueError, match="at least one"):
            write_report(tmp_path / "r.html", [])
        assert list(tmp_path.iterdir()) == []


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
