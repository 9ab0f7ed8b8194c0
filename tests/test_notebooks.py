"""The chapters of the docs as notebooks: no markup of the site's is left, and the page shows what its code gives."""

import base64
import sys
from pathlib import Path

import pytest

for needed in ("jupytext", "nbclient", "ipykernel", "matplotlib"):
    pytest.importorskip(needed)
PLACE = Path(__file__).parents[1] / "tools" / "docs"
sys.path.append(str(PLACE))
try:
    import notebooks
finally:
    sys.path.remove(str(PLACE))

PAGE = """# A page

Words.
{ .lead }

<figure markdown="span">
  ![A curve](generated/curve-light.svg#only-light){ width=760 }
  ![A curve](generated/curve-dark.svg#only-dark){ width=760 }
  <figcaption>What it
  shows.</figcaption>
</figure>

```math
x^2
```

!!! note "Mind"

    Two lines

    of advice, and [a page](optimizers/adam.md#use).

--8<-- "piece.md"

```python
x = 6
print(x * 7)
```

<!-- skip: next -->

```python
raise SystemExit
```

<!-- skip: next if(1 > 2, reason="never") -->

```python
from minima.optim import Adam

Adam.formula(weight_decay=0)
```

```python
import matplotlib.pyplot as plt

plt.plot([1, 2]);
```

```python
import a_module_that_nobody_has
```
"""


@pytest.fixture
def generated(tmp_path):
    folder = tmp_path / "generated"
    folder.mkdir()
    (folder / "curve-light.png").write_bytes(b"a picture")
    (folder / "piece.md").write_text("A piece.")
    return folder


def test_a_notebook_has_no_markup_of_the_site_and_carries_its_pictures(generated):
    notebook = notebooks.converted(PAGE, generated)
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for markup in ("{ ", "<figure", "!!!", "--8<--", "<!--", "```math", ".svg", "```py\n"):
        assert markup not in words
    assert "*What it shows.*" in words and "> **Mind**\n>\n> Two lines\n>\n> of advice" in words
    assert "$$\nx^2\n$$" in words and "A piece." in words and "[a page](../optimizers/adam.html#use)" in words
    assert "![A curve](attachment:curve-light.png)" in words
    (attached,) = (cell.attachments for cell in notebook.cells if "attachments" in cell)
    assert base64.b64decode(attached["curve-light.png"]["image/png"]) == b"a picture"


def test_what_is_skipped_or_imports_what_is_missing_is_shown_and_not_run(generated):
    notebook = notebooks.converted(PAGE, generated)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert [each.split()[0] for each in code] == ["x", "from", "import"]
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "```python\nraise SystemExit" in words and "```python\nimport a_module" in words


def test_the_page_shows_what_its_code_prints_returns_and_draws(generated):
    notebook = notebooks.run(notebooks.converted(PAGE, generated))
    page = notebooks.shown(PAGE, notebook, generated, "page")
    assert page.startswith("# A page\n\n[This page as a notebook](notebooks/page.ipynb){")
    assert "print(x * 7)\n```\n\n```{ .text .output }\n42\n```\n" in page
    assert "Adam.formula(weight_decay=0)\n```\n\n```math\n\\begin{aligned}" in page
    (picture,) = generated.glob("page-*.png")
    assert f"![What the code above draws](generated/{picture.name})" in page
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [cell.metadata for cell in notebook.cells if "execution" in cell.metadata] == []


def test_code_that_fails_stops_the_build_and_says_where(generated):
    broken = notebooks.converted("# A page\n\n```python\n1 / 0\n```\n", generated)
    with pytest.raises(notebooks.CellExecutionError, match="1 / 0"):
        notebooks.run(broken)
