"""The page of the race as people meet it: opened from a disk in Chromium, in the theme of the site."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools" / "docs"
for module in ("matplotlib", "zensical"):
    pytest.importorskip(module)
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)
sys.path.append(str(TOOLS))

import race  # noqa: E402 - the folder is no package
import race_page  # noqa: E402

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
TITLES = [runner.title for runner in race.RUNNERS]
LAST = str(race.STEPS)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The page alone, built as the site is, but for its links to other pages."""
    folder = tmp_path_factory.mktemp("site")
    docs = folder / "docs"
    shutil.copytree(ROOT / "docs" / "assets", docs / "assets")
    (docs / "generated").mkdir()
    race_page.draw(docs / "generated")
    shutil.copy(ROOT / "docs" / "race.md", docs / "index.md")
    config = (ROOT / "zensical.toml").read_text().partition("[project.plugins")[0]
    config = re.sub(r"^nav = .*?^]\n", 'nav = [{ "The race" = "index.md" }]\n', config, flags=re.MULTILINE | re.DOTALL)
    config = config.replace("build/docs/generated", "docs/generated").replace("build/docs", "docs")
    (folder / "zensical.toml").write_text(config.replace("tools/docs/theme", str(TOOLS / "theme")))
    build = (
        "import sys; sys.path.append(sys.argv[1]); from zensical import build; "
        "build('zensical.toml', {'clean': True, 'strict': True})"
    )
    subprocess.run([sys.executable, "-c", build, str(TOOLS)], cwd=folder, check=True, timeout=120)
    return (folder / "site" / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as it:
        chromium = it.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, page_file):
    """Opens the page; what its scripts throw, and what it asks a network for, fails the test."""
    contexts, wrong = [], []

    def opened(**options):
        contexts.append(browser.new_context(**{"reduced_motion": "reduce"} | options))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda it: None if re.match("file:|data:|blob:", it.url) else wrong.append(it.url))
        page.goto(page_file)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def scrub(page):
    return page.get_by_role("slider", name="Step", exact=True)


def step(page):
    return int(scrub(page).input_value())


def drawn(page, kind="race-head"):
    """The runners that have a mark of this kind on the map."""
    marks = page.locator(f".race-map .{kind}").evaluate_all("them => them.map(it => Number(it.dataset.runner))")
    return {TITLES[index] for index in marks}


def test_it_opens_at_the_end_of_the_first_lesson_where_motion_is_unwelcome(visit):
    page = visit()
    assert scrub(page).input_value() == LAST and page.get_by_role("button", name="Play").is_visible()
    assert drawn(page) == drawn(page, "race-line") == set(race.LANDSCAPES["valley"].lesson)
    page.wait_for_timeout(400)
    assert scrub(page).input_value() == LAST
    assert (
        page.locator("#race-track")
        .get_by_role("status")
        .inner_text()
        .startswith(f"Step {LAST}, lowest first: Adam at 0.000014; ")
    )


def test_it_plays_by_itself_where_motion_is_welcome_and_pauses(visit):
    page = visit(reduced_motion="no-preference")
    page.wait_for_function("document.querySelector('[data-part=scrub]').value > 3")
    page.get_by_role("button", name="Pause").click()
    there = step(page)
    assert 3 < there < race.STEPS
    page.wait_for_timeout(400)
    assert step(page) == there
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"document.querySelector('[data-part=scrub]').value > {there + 2}")


def test_heads_stand_where_the_runs_stood(visit):
    page = visit()
    place = race.LANDSCAPES["valley"]
    for at in (0, 7, 40):
        scrub(page).fill(str(at))
        for title, rate in place.lesson.items():
            index = TITLES.index(title)
            mark = page.locator(f".race-map .race-head[data-runner='{index}']").get_attribute("transform")
            x, y = map(float, re.findall(r"-?[\d.]+", mark)[:2])
            u, v = place.seen(race.paths(place)[index, race.RATES.index(rate), at])
            assert abs(x - 1760 * u) < 1.5 and abs(y - 1000 * (1 - v)) < 1.5, (title, at)
            said = float(page.locator(f"[data-part=height-{index}]").inner_text())
            true = place.at(race.paths(place)[index, race.RATES.index(rate), at])
            assert said == pytest.approx(true, rel=0.06), (title, at)  # two digits


def test_each_landscape_can_be_chosen_by_itself_and_by_the_link_in_its_section(visit):
    page = visit()
    for key, place in race.LANDSCAPES.items():
        page.locator(f".race-places label:has([value='{key}'])").click()
        assert drawn(page) == set(place.lesson), key
        assert page.locator(".race-map").get_attribute("aria-label").startswith(place.title)
    page.locator("a.race-run[href='#race-saddle']").click()
    assert page.get_by_role("radio", name="Saddle").is_checked() and step(page) == 0
    assert page.evaluate("document.activeElement.classList.contains('race-map')")


def test_runners_and_rates_can_be_chosen(visit):
    page = visit()
    page.get_by_role("checkbox", name="Muon").check()
    page.get_by_role("checkbox", name="Signum").uncheck()
    assert drawn(page) == set(race.LANDSCAPES["valley"].lesson) - {"Signum"} | {"Muon"}
    before = page.locator(".race-map .race-line[data-runner='0']").first.get_attribute("d")
    rate = page.get_by_role("slider", name="Learning rate of SGD", exact=True)
    rate.fill(str(len(race.RATES) - 1))
    assert rate.get_attribute("aria-valuetext") == "10"
    assert page.locator("[data-part=height-0]").inner_text() == "diverged"
    assert page.locator(".race-map .race-line[data-runner='0']").first.get_attribute("d") != before
    every = page.get_by_role("slider", name="All learning rates")
    every.fill("3")
    assert page.locator("[data-part^=lr-]").all_inner_texts() == [f"lr {race.RATES[3]:g}"] * len(TITLES)
    page.get_by_role("button", name="Best of each").click()
    best = [f"lr {race.RATES[index]:g}" for index in race.best(race.LANDSCAPES["valley"])]
    assert page.locator("[data-part^=lr-]").all_inner_texts() == best
    for title in TITLES:
        page.get_by_role("checkbox", name=title, exact=True).set_checked(False)
    assert (
        drawn(page) == set()
        and page.locator("#race-track").get_by_role("status").inner_text() == "No optimizer is chosen."
    )
    page.get_by_role("slider", name="Learning rate of Lion").fill("5")
    assert drawn(page) == {"Lion"}, "who moves a rate chooses its runner"


def test_the_keyboard_does_all_of_it(visit):
    page = visit()
    page.get_by_role("radio", name="Valley").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="Saddle").is_checked()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList.contains('race-map')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Home")
    assert step(page) == 0
    for key, there in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", race.STEPS), ("Home", 0)):
        page.keyboard.press(key)
        assert step(page) == there, key
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('[data-part=scrub]').value > 1")
    page.keyboard.press(" ")
    assert page.get_by_role("button", name="Play").is_visible() and step(page) < race.STEPS
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Play"
    page.keyboard.press(" ")
    assert page.get_by_role("button", name="Pause").is_visible()


def test_every_control_has_a_name_of_its_own(visit):
    page = visit()
    for role, count in (("slider", 2 + len(TITLES)), ("checkbox", len(TITLES)), ("radio", len(race.LANDSCAPES))):
        found = page.locator("#race-track").get_by_role(role)
        names = [re.search(r'"(.+)"', it.aria_snapshot()).group(1) for it in found.all()]
        assert len(set(names)) == count, names


def test_coinciding_paths_both_show(visit):
    """SGD with and without momentum move alike at first: the lower line is broader, so that it shows on both sides."""
    page = visit()
    lower, upper = (TITLES.index(title) for title in ("SGD", race.MOMENTUM))
    for title in set(race.LANDSCAPES["valley"].lesson) - {"SGD", race.MOMENTUM}:
        page.get_by_role("checkbox", name=title, exact=True).uncheck()
    widths = {
        index: page.locator(f".race-map .race-line[data-runner='{index}']").evaluate_all(
            "them => them.map(it => Number(it.getAttribute('stroke-width')))"
        )
        for index in (lower, upper)
    }
    assert max(widths[lower]) >= 2 * max(widths[upper]) and set(widths[upper]) == {2.2}
    order = page.locator(".race-map .race-line").evaluate_all("them => them.map(it => Number(it.dataset.runner))")
    assert order == sorted(order, key=[lower, upper].index)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_schemes_and_hears_a_finger(scheme, visit):
    page = visit(color_scheme=scheme, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    dark = page.evaluate("document.body.getAttribute('data-md-color-scheme')") == "slate"
    assert dark == (scheme == "dark")
    scrub(page).fill("0")
    page.locator(".race-map").tap()
    page.wait_for_function("document.querySelector('[data-part=scrub]').value > 1")
    for control in page.locator("#race-track :is(input, button, .race-told)").all():
        if control.is_visible():
            box = control.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 360


def test_the_ink_follows_the_scheme(visit):
    fills = [
        visit(color_scheme=scheme)
        .locator(".race-map [data-part=minima] path")
        .first.evaluate("it => getComputedStyle(it).fill")
        for scheme in ("light", "dark")
    ]
    assert fills[0] != fills[1]


def test_without_scripts_a_picture_stands_in_its_place(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("#race-track img").first.is_visible()
    assert page.get_by_text("the race needs JavaScript").is_visible()
    assert page.locator("#race-track").get_by_role("slider").count() == 0
