"""The race of the docs: its paths are those of the classes, its data says so, and its text is true of them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from minima import Tensor, optim

TOOLS = Path(__file__).parents[1] / "tools" / "docs"
pytest.importorskip("matplotlib")
sys.path.append(str(TOOLS))

import race  # noqa: E402 - the folder is no package
import race_page  # noqa: E402

TITLES = [runner.title for runner in race.RUNNERS]
GRADIENTS = {
    "valley": lambda x, y: (x / 12 - (y - x**2 / 16 + 0.8) * x / 4, 2 * (y - x**2 / 16 + 0.8)),
    "saddle": lambda x, y: (x, (y**2 - 3) * y / 2),
    "rosenbrock": lambda x, y: (-(1 - x) / 50 - 4 * x * (y - x**2), 2 * (y - x**2)),
    "rastrigin": lambda x, y: tuple(2 * z + 20 * np.pi * np.sin(2 * np.pi * z) for z in (x, y)),
    "noise": lambda x, y: (x, 10 * y),
}
"""By hand, apart from minima's autograd."""


def path(key, title, rate=None):
    place = race.LANDSCAPES[key]
    rate = place.lesson[title] if rate is None else rate
    return race.paths(place)[TITLES.index(title), race.RATES.index(rate)]


def heights(key, title, rate=None):
    return race.LANDSCAPES[key].at(path(key, title, rate))


def below(key, title, height, rate=None):
    """The first step after which a run is lower."""
    return int(np.argmax(heights(key, title, rate) < height))


@pytest.mark.parametrize("key", race.LANDSCAPES)
@pytest.mark.parametrize("title", TITLES)
def test_a_path_is_that_of_a_lone_run_of_the_class(key, title):
    place, runner = race.LANDSCAPES[key], race.RUNNERS[TITLES.index(title)]
    noise = np.random.default_rng(0).normal(scale=place.noise, size=(race.STEPS, 2))
    rate = place.lesson.get(title, race.RATES[race.best(place)[TITLES.index(title)]])
    point = Tensor([place.start], dtype="float64", requires_grad=True)
    optimizer = getattr(optim, runner.name)([point], lr=rate, **runner.settings)
    for step, there in enumerate(path(key, title, rate)[:30]):
        optimizer.eval()
        # Close, not equal: what is chaotic may part by rounding between autograd's gradient and the one by hand.
        np.testing.assert_allclose(point.detach().numpy()[0], there, rtol=1e-4, atol=1e-5, err_msg=f"step {step}")
        optimizer.train()
        point.grad = Tensor([np.array(GRADIENTS[key](*point.detach().numpy()[0])) + noise[step]], dtype="float64")
        optimizer.step()


def test_plain_sgd_is_that_of_the_definition():
    there = np.array(race.LANDSCAPES["saddle"].start)
    for seen in path("saddle", "SGD"):
        np.testing.assert_allclose(seen, there, rtol=1e-9, atol=1e-12)
        there = there - 0.2 * np.array(GRADIENTS["saddle"](*there))


def test_the_minima_of_a_landscape_have_height_zero_and_no_slope():
    for key, place in race.LANDSCAPES.items():
        for minimum in place.minima:
            assert abs(place.at(np.array(minimum))) < 1e-12
            np.testing.assert_allclose(GRADIENTS[key](*map(float, minimum)), 0, atol=1e-9)


def test_a_run_that_leaves_for_good_is_lost_from_then_on():
    lost = ~np.isfinite(path("valley", "SGD", 10.0)).all(axis=-1)
    assert not lost[0] and lost[-1] and (np.diff(lost.astype(int)) >= 0).all()
    assert np.isinf(heights("valley", "SGD", 10.0)[-1])


# The data -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    race_page.draw(folder)
    return folder


def decoded(data, text):
    levels = [64 * data["digits"].index(a) + data["digits"].index(b) for a, b in zip(*[iter(text)] * 2, strict=True)]
    return np.array([np.nan if level > data["top"] else level / data["top"] for level in levels])


def test_data_and_script_are_at_most_a_megabyte_and_the_script_fetches_nothing(drawn):
    script = (TOOLS.parents[1] / "docs" / "assets" / "race.js").read_text()
    assert len(script.encode()) + (drawn / "race-data.js").stat().st_size <= 1_000_000
    assert not re.search(r"fetch\(|XMLHttpRequest|import\s*\(|https?://", script)


def test_the_data_says_where_each_run_stood_and_how_high(drawn):
    text = (drawn / "race-data.js").read_text()
    data = json.loads(text.removeprefix("window.minimaRace = ").removesuffix(";\n"))
    assert [runner["title"] for runner in data["runners"]] == TITLES and list(data["landscapes"]) == [*race.LANDSCAPES]
    low, high = data["decades"]
    for key, place in race.LANDSCAPES.items():
        told = data["landscapes"][key]
        for i, j in np.ndindex(len(TITLES), len(race.RATES)):
            true = race.paths(place)[i, j]
            fractions = decoded(data, told["points"][i][j]).reshape(-1, 2) * (1 + 2 * data["margin"]) - data["margin"]
            np.testing.assert_array_equal(np.isnan(fractions), ~np.isfinite(true))
            expected = np.clip((true - place.corner) / (race.ASPECT * place.span, place.span), -0.5, 1.5)
            known = np.isfinite(true)
            assert np.abs(fractions - expected)[known].max() < 1 / 3000  # a third of a pixel
            powers = low + decoded(data, told["heights"][i][j]) * (high - low)
            with np.errstate(divide="ignore"):
                exact = np.clip(np.log10(place.at(true)), low, high)
            assert np.abs(powers - exact)[known[:, 0]].max() < 0.003  # 0.7 %
        assert {TITLES[int(index)]: race.RATES[rate] for index, rate in told["lesson"].items()} == place.lesson


def test_the_outlines_hold_what_lies_below_their_levels():
    matplotlib = pytest.importorskip("matplotlib.path")
    place = race.LANDSCAPES["noise"]
    bands = list(race_page.outlines(place))
    assert len(bands) == race_page.BANDS - 1
    areas = []
    for band in bands:
        (ring,) = re.findall(r"M(\d+) (\d+)l([^z]*)z", band.replace("-", " -")) if band.count("M") == 1 else [None]
        if ring is None:
            continue
        moves = np.array(ring[2].split(), int).reshape(-1, 2)
        outline = np.cumsum([[int(ring[0]), int(ring[1])], *moves], axis=0)
        x, y = outline.T
        areas.append(abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1))) / 2)
        inside = matplotlib.Path(outline).contains_point(race_page._pixels(place, np.array([0.0, 0.0])))
        assert inside, "the minimum lies in each of them"
        # On a border of the map or at one height: the points of an ellipse x^2/2 + 5 y^2.
        px, py = x / 1000 * place.span + place.corner[0], place.corner[1] + (1 - y / 1000) * place.span
        free = (x > 0) & (x < 1760) & (y > 0) & (y < 1000)
        if free.any():
            level = px[free] ** 2 / 2 + 5 * py[free] ** 2
            assert np.ptp(level) < 0.05 * level.mean() + 0.05
    assert len(areas) >= 8 and areas == sorted(areas, reverse=True)


def test_colours_are_clear_in_both_schemes_and_markers_are_all_different():
    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    for runner in race.RUNNERS:
        mine = luminance(runner.color)
        assert 1.05 / (mine + 0.05) >= 3 and (mine + 0.05) / (luminance("#0c0d10") + 0.05) >= 3, runner.title
    assert len({runner.marker for runner in race.RUNNERS}) == len({it.color for it in race.RUNNERS}) == len(TITLES)
    script = (TOOLS.parents[1] / "docs" / "assets" / "race.js").read_text()
    assert all(re.search(rf"^    {marker}: \"M", script, re.MULTILINE) for marker in race_page.MARKERS)


def test_each_landscape_has_its_still_pictures_and_its_section(drawn):
    page = (TOOLS.parents[1] / "docs" / "race.md").read_text()
    for key, place in race.LANDSCAPES.items():
        for scheme in ("light", "dark"):
            assert f"generated/race-{key}-{scheme}.svg#only-{scheme}" in page
            assert "<svg" in (drawn / f"race-{key}-{scheme}.svg").read_text()
        assert f"{{ #race-{key} }}" in page and f"[Run them](#race-{key}){{ .race-run }}" in page
        assert set(place.lesson) <= set(TITLES) and set(place.lesson.values()) <= set(race.RATES)


# What the page says ---------------------------------------------------------------------------------------------------


def test_the_page_is_true_of_the_valley():
    assert round(path("valley", race.MOMENTUM)[:, 0].max(), 2) == 0.75 and path("valley", "SGD")[:, 0].max() < 0
    assert (below("valley", race.MOMENTUM, 0.01), below("valley", "SGD", 0.01)) == (28, 63)
    assert below("valley", "SGD", 1) <= 5 and np.ptp(path("valley", "SGD")[60:], axis=0).max() < 0.8
    np.testing.assert_allclose(np.abs(np.diff(path("valley", "Signum"), axis=0)), 0.1)
    assert round(heights("valley", "Signum")[-1], 2) == 0.04
    assert all(heights("valley", title)[-1] < 0.04 / 100 for title in ("SGD", race.MOMENTUM, "Adam"))
    steps = np.abs(np.diff(path("valley", "Adam"), axis=0))
    np.testing.assert_allclose(steps[0], 0.5, rtol=1e-6)
    assert steps[100:].max() < steps[0].min() / 5


def test_the_page_is_true_of_the_saddle():
    beside = {title: np.abs(path("saddle", title)[:, 1]) > 0.5 for title in race.LANDSCAPES["saddle"].lesson}
    assert np.argmax(np.abs(path("saddle", "SGD")[:, 0]) < 0.1) == 15 and not beside["SGD"][15]
    assert round(path("saddle", race.MOMENTUM)[:, 0].max(), 2) == 0.77
    assert [int(np.argmax(beside[it])) for it in (race.MOMENTUM, "RMSProp", "Adam")] == [33, 4, 6]


def test_the_page_is_true_of_rosenbrock():
    ends = {title: path("rosenbrock", title)[-1, 0].round(2) for title in race.LANDSCAPES["rosenbrock"].lesson}
    assert ends == {"SGD": -0.74, race.MOMENTUM: 0.68, "Adam": 0.65, "SOAP": 0.83}
    assert all(below("rosenbrock", title, 0.1) <= 5 for title in ends)
    assert np.isinf(heights("rosenbrock", "SGD", 1.0)[-1])


def test_the_page_is_true_of_rastrigin():
    ends = {it: path("rastrigin", it)[-1].round().tolist() for it in race.LANDSCAPES["rastrigin"].lesson}
    assert ends == {"SGD": [-4, 2], race.MOMENTUM: [-4, 1], "Adam": [-4, 2], race.FREE: [-3, 1]}
    assert heights("rastrigin", race.FREE)[-1] == pytest.approx(heights("rastrigin", "SGD")[-1] / 2, rel=0.02)


def test_the_page_is_true_of_the_noisy_bowl():
    late = {title: heights("noise", title)[60:].mean().round(2) for title in race.LANDSCAPES["noise"].lesson}
    assert late == {"SGD": 0.79, "AdaGrad": 0.08, "Adam": 0.10, race.FREE: 0.05}
    assert heights("noise", "SGD", 0.02)[60:].mean().round(2) == 0.24
    assert (below("noise", "SGD", 0.1), below("noise", "SGD", 0.1, 0.02)) == (12, 96)
    assert all(below("noise", title, 0.1) >= 12 for title in late)
