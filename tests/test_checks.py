"""The checks of the docs find what they are for, and nothing in a page that is right."""

import re
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools" / "docs"
pytest.importorskip("griffe")
sys.path.append(str(TOOLS))

import check  # noqa: E402 - the folder is no package
import source  # noqa: E402

RIGHT = '<h1>A</h1><h2>B</h2><h3>C</h3><h2>D</h2><img src="a.svg" alt="a"><pre><code>x = `y`</code></pre>``'


def test_a_page_that_is_right_is_not_complained_about():
    assert check.Page(RIGHT).complaints == []


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        (' alt="a"', "", "the picture a.svg has no alternative text"),
        ("<h2>B</h2>", "", "a heading of level 3 follows one of level 1"),
        ("<h2>B</h2>", "<h1>B</h1><h2>B</h2>", "has two headings of level 1"),
        ("`y`", "<span>`</span>`y``", "a block of code holds the marks of a docstring: 'x = ``y``'"),
    ],
)
def test_what_is_wrong_with_a_page_is_named(right, wrong, complaint):
    assert check.Page(RIGHT.replace(right, wrong)).complaints == [complaint]


def test_code_wider_than_a_page_is_named():
    for columns, count in ((80, 0), (81, 1)):
        code = "x" * columns
        assert len([*check.wide(f"# T\n\n{code * 2}\n\n```python\ny\n{code}\n```\n", "docs/a.md")]) == count
        assert [*check.wide(f"```math\n{code}\n```\n", "docs/a.md")] == []


def test_contrast_is_that_of_the_standard():
    # The examples of https://webaim.org/resources/contrastchecker/ and of WCAG's own text.
    assert check.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert check.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)
    assert check.contrast("#0000ff", "#ffffff") == pytest.approx(8.59, abs=0.005)


def test_colours_that_are_too_faint_are_named():
    sheet = "".join(
        f'[data-md-color-scheme="{scheme}"] {{\n  --md-typeset-a-color: #777777;\n}}\n' for scheme in check.PAPERS
    )
    inks = {"default": ["#767676"], "slate": ["#777777"]}
    faint = [*check.contrasts(sheet, inks)]
    assert [line.split()[0] for line in faint] == ["--md-typeset-a-color", "--md-typeset-a-color", "the"]
    assert len([*check.contrasts("", {"default": [], "slate": []})]) == 2


def test_indented_entries_become_a_list_and_code_does_not():
    entries = "Keywords:\n\n    one: The first,\n        in two lines.\n    two: ``x``.\n\nAfter."
    assert source.listed(entries) == "Keywords:\n\n- `one`: The first,\n  in two lines.\n- `two`: ``x``.\n\nAfter."
    for code in ("::\n\n    x = 1\n    y = 2\n", "Args:\n    x: One.\n", "    if x:\n        y: int = 1\n    z\n"):
        assert source.listed(code) == code


def test_wide_tuples_of_tensors_are_folded():
    wide = f"(Tensor([{'1, ' * 20}]), Tensor([{'2, ' * 10}]))"
    assert source.folded(f">>> w\n{wide}").splitlines()[1:] == [
        f"(Tensor([{'1, ' * 20}]),",
        f" Tensor([{'2, ' * 10}]))",
    ]
    assert source.folded("(Tensor([1]), Tensor([2]))") == "(Tensor([1]), Tensor([2]))"


def test_columns_of_words_are_marked_by_what_they_show():
    markdown = pytest.importorskip("markdown")
    link = f"[short](https://example.org/{'x' * 60})"
    phrase, sentence = "one `two` three four five", "one `two` three four five six seven eight nine ten"
    text = "| A | B |\n| --- | ---: |\n| {} | {} |\n| b | 2 |\n"
    for cells, classes in {
        (link, "1"): [],
        (phrase, "1"): ["phrase"] * 3,
        (phrase, sentence): ["phrase", "sentence"] * 3,
    }.items():
        html = markdown.markdown(text.format(*cells), extensions=["tables", "columns"])
        assert re.findall('class="(.+?)"', html) == classes


def test_a_table_without_words_in_its_head_has_none():
    markdown = pytest.importorskip("markdown")
    text = "| {} | |\n| --- | --- |\n| a | b |\n"
    for word in ("", "A"):
        html = markdown.markdown(text.format(word), extensions=["tables", "columns"])
        assert html.count("<td>") == 2 and html.count("<th>") == 2 * len(word)


def test_a_page_that_a_phone_does_not_hold_is_named_with_what_sticks_out(tmp_path):
    import rendered

    chromium = rendered.browser()
    if chromium is None:
        pytest.skip("there is no Chromium, or no Playwright")
    fits = '<!doctype html><meta name="viewport" content="width=device-width"><h1>A</h1>{}'
    wide = f"<p>{'wide' * 60}</p>"
    (tmp_path / "fits.html").write_text(fits.format(f'<div style="overflow: auto">{wide}</div>'))
    (tmp_path / "wide.html").write_text(fits.format(wide))
    (complaint,) = rendered.problems(tmp_path, chromium)
    assert complaint.startswith("site/wide.html: is wider than 360 pixels, because of '<p>widewide")


def test_text_that_is_too_faint_in_a_browser_is_named_once_for_its_colours(tmp_path):
    import rendered

    chromium = rendered.browser()
    if chromium is None:
        pytest.skip("there is no Chromium, or no Playwright")
    # By webaim.org #767676 on white just passes, #777777 has 4.48, and #808080, about half of black, 3.95.
    styles = {"color: #767676": 0, "color: #777777": 1, "opacity: 0.5": 1, "color: #949494; font-size: 24px": 0}
    for i, style in enumerate(styles):
        text = f'<p style="color: black; {style}">one</p><p style="color: black; {style}">two</p>'
        (tmp_path / f"{i}.html").write_text(f"<!doctype html><article><h1>A</h1>{text}</article>")
    found = [*rendered.problems(tmp_path, chromium)]
    assert [line.split(".html")[0] for line in found] == [f"site/{i}" for i, it in enumerate(styles.values()) if it]
    assert found[0] == "site/1.html: 'one' has a contrast of 4.48, rgb(119, 119, 119) on 255,255,255 (default)"
    assert "a contrast of 3.98, rgb(0, 0, 0)" in found[1]


def test_a_page_that_is_too_heavy_is_named(tmp_path):
    docs, site = tmp_path / "docs", tmp_path / "site"
    docs.mkdir()
    site.mkdir()
    (docs / "index.md").write_text("# A\n")
    for size, count in ((check.HEAVIEST, 0), (check.HEAVIEST + 1, 1)):
        (site / "index.html").write_text(RIGHT.replace('<img src="a.svg" alt="a">', "").ljust(size))
        found = [*check.problems([{"Home": "index.md"}], docs, site)]
        assert len(found) == count and all(f"index.html: has {size} bytes" in line for line in found)
