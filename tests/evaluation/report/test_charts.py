import xml.etree.ElementTree as ET

import numpy as np
import pytest

from armoe_jax.evaluation.report import charts


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
