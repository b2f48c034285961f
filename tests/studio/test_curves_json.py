"""A million points as a chart's data: every spike that is the extreme of its surroundings is there, and is drawn."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import Person, Studio

COUNT, SPIKES = 100_000, 500


@pytest.fixture(scope="module")
def spiky(studio: Studio) -> tuple[str, list[float]]:
    """A run with a metric of small waves and 500 spikes, most of them small."""
    rng = random.Random(11)
    values = [0.3 + 0.02 * math.sin(step / 400) for step in range(COUNT)]
    for step in rng.sample(range(COUNT), SPIKES):
        values[step] += rng.choice([-1, 1]) * (0.03 + rng.random() ** 6)
    created = studio.call("POST", "/api/2.0/mlflow/runs/create", studio.token, {"experiment_id": "0"})
    run_id = created["run"]["info"]["run_id"]
    for start in range(0, COUNT, 1000):
        metrics = [
            {"key": "loss", "value": value, "step": step, "timestamp": step}
            for step, value in enumerate(values[start : start + 1000], start)
        ]
        studio.call("POST", "/api/2.0/mlflow/runs/log-batch", studio.token, {"run_id": run_id, "metrics": metrics})
    return run_id, values


def test_every_spike_that_would_be_seen_is_in_the_data(owner: Person, spiky: tuple[str, list[float]]) -> None:
    run_id, values = spiky
    answer = owner.data(f"/runs/{run_id}/metrics/loss.json?points=800")
    [curve] = answer["curves"]
    drawn = set(zip(curve["x"], curve["y"], strict=True))
    width = COUNT // 800
    spikes = [step for step, value in enumerate(values) if abs(value - 0.3 - 0.02 * math.sin(step / 400)) > 0.02]
    assert len(spikes) == SPIKES
    for step in spikes:
        around = values[max(0, step - width) : step + width + 1]
        if values[step] in (min(around), max(around)):
            assert (step, values[step]) in drawn
    assert curve["points_in_all"] == COUNT


def test_a_zoom_goes_down_to_single_points(owner: Person, spiky: tuple[str, list[float]]) -> None:
    run_id, values = spiky
    [curve] = owner.data(f"/runs/{run_id}/metrics/loss.json?points=300&from=5000&to=5999")["curves"]
    assert curve["x"] == list(range(5000, 6000))
    assert curve["y"] == values[5000:6000]


@pytest.mark.needs("playwright")
def test_every_such_spike_is_in_the_picture(
    visit: Callable[..., Any], spiky: tuple[str, list[float]], pictures: Path
) -> None:
    """In each column of pixels the line reaches as high and as low as the values there do."""
    run_id, values = spiky
    visiting = visit().open(f"/runs/{run_id}")
    chart = visiting.page.locator("metric-chart").first
    plot = chart.evaluate(
        """chart => {
            const over = (chart.shadowRoot ?? chart).querySelector('.u-over').getBoundingClientRect();
            const {x: [first, last], y: [low, high]} = chart.ranges;
            return {left: over.left, top: over.top, width: over.width, height: over.height, low, high, first, last};
        }"""
    )
    path = pictures / "planted spikes.png"
    path.parent.mkdir(exist_ok=True)
    visiting.page.screenshot(path=path)
    picture = Image.open(path).convert("RGB")
    missed = 0
    for column in range(4, int(plot["width"]) - 4):
        share = (plot["last"] - plot["first"]) / plot["width"]
        begin, end = (int(plot["first"] + (column + side) * share) for side in (0, 1))
        inside = values[max(begin, 0) : min(end + 1, COUNT)]
        if not inside:
            continue
        for value in (min(inside), max(inside)):
            y = plot["top"] + (plot["high"] - value) / (plot["high"] - plot["low"]) * plot["height"]
            x = plot["left"] + column
            near = [
                picture.getpixel((int(x) + across, int(y) + down))
                for across in (-1, 0, 1)
                for down in (-2, -1, 0, 1, 2)
            ]
            missed += not any(blue - red > 40 for red, _, blue in near)  # the first curve's colour is a blue
    assert missed == 0
