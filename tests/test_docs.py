"""The pages of the optimizers: all of a page comes out of the class, and what the class does not say is asked for."""

import importlib
import inspect
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools" / "docs"
for module in ("griffe", "sympy", "torch"):
    pytest.importorskip(module)
sys.path.append(str(TOOLS))

import cards  # noqa: E402
import optimizers  # noqa: E402 - the folder is no package
import published  # noqa: E402

from minima.optim import Optimizer, hyper, sqrt  # noqa: E402
from minima.optim.language.latex import letter  # noqa: E402


class Root(Optimizer):
    """Steps along the root of the gradient.

    ::

        param = (1 - lr*wd)*param
        param = param - lr*sqrt(grad)

    Negative gradients stop it.

    Args:
        params: The Tensors to optimize.
        lr: How far a parameter
            moves for a gradient of 1.
        whole: Whether the root is left out.
        wd: Weight decay.

    Keeps nothing.

    Source: folklore.

    PyTorch has none. Differs from Optax: not at all.

    >>> 1 + 1
    2
    """

    lr: float = hyper(0.5, low=0)
    whole: bool = hyper(False, kw_only=True)

    @staticmethod
    def update(param, grad, *, lr, whole):
        return param - lr * (grad if whole else sqrt(grad))


def test_a_page_is_made_of_the_class_and_its_docstring():
    page = optimizers.written(Root, {}, cards.Results())
    for part in (
        "# Root\n\nSteps along the root of the gradient.\n{ .lead }",
        r"\theta_t &= \tilde{\theta}_{t-1} - \eta \sqrt{g_{t}}\end{aligned}",
        "Negative gradients stop it.",
        "With `whole=True`:\n\n```math\n\\begin{aligned}\\theta_t &= \\tilde{\\theta}_{t-1} - \\eta g_{t}\\end",
        r"| `lr` | $\eta$ | How far a parameter moves for a gradient of 1. | [0, inf) | `0.5` |",
        "| `whole` |  | Whether the root is left out. | True or False | `False` |",
        "## State\n\nKeeps nothing.",
        "| by default | 0 | 0 | 0 | 12 |",
        "## Source\n\nfolklore.",
        "## Hyperparameters\n\n### ::: minima.optim.Root\n",
        "`params`: The Tensors to optimize. Every optimizer also takes `engine`, `state_dtype`, ",
        "PyTorch has none. **Differs from Optax:** not at all.",
        "```pycon\n>>> 1 + 1\n2\n```",
    ):
        assert part in page, part
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert headings == [heading for heading in optimizers.SECTIONS if heading in headings]
    assert set(optimizers.SECTIONS) - set(headings) == {"Intuition", "In other libraries"}


def test_what_a_person_adds_stands_under_its_heading_after_what_is_made(tmp_path):
    path = tmp_path / "root.md"
    assert optimizers.added(path) == {}
    path.write_text("## Intuition\n\nThink.\n\n### Twice\n\n## Source\n\nA book.\n")
    page = optimizers.written(Root, optimizers.added(path), cards.Results())
    assert "## Intuition\n\nThink.\n\n### Twice\n\n<figure" in page and "## Source\n\nfolklore.\n\nA book." in page
    for wrong, complaint in (("# Root\n", "above its first heading"), ("## Sauce\n", "under 'Sauce'")):
        path.write_text(wrong)
        with pytest.raises(SystemExit, match=complaint):
            optimizers.added(path)


@pytest.mark.parametrize(
    ("said", "instead", "complaint"),
    [
        ("Source: folklore.", "", "has no paragraph with 'Source:'"),
        ("whole: Whether", "hole: Whether", "does not say what whole means"),
        ("Keeps nothing.", "Keeps nothing.\n\n    Hello.", "has a paragraph without a place: Hello."),
    ],
)
def test_a_docstring_that_lacks_something_is_refused(said, instead, complaint, monkeypatch):
    monkeypatch.setattr(Root, "__doc__", Root.__doc__.replace(said, instead))
    with pytest.raises(SystemExit, match=complaint):
        optimizers.written(Root, {}, cards.Results())


def test_every_factory_of_minima_jax_stands_in_the_tables_and_in_the_reference():
    pytest.importorskip("jax")
    import factories

    from minima.jax import names

    table, others, reference = factories.optax(), factories.others(), factories.reference()
    for name in names():
        link = f"[`{name}`](api/jax.md#minima.jax.{name})"
        assert (link in table) != (link in others), name
        assert f"{{ #minima.jax.{name} }}" in reference
    assert "`eps_root=0`, `mu_dtype=None`" in table and "adapt(minima.optim.Muon)" in factories.instead()
    nadam = next(row for row in table.splitlines() if row.startswith("| [`nadam`]"))
    assert "minima.optim.NAdam" in nadam and "minima.optim.Adam`" not in nadam


def test_every_optimizer_names_a_paper_that_its_page_links():
    said = {cls.__name__: optimizers.Said(cls).source for cls in optimizers.OPTIMIZERS}
    assert [name for name, source in said.items() if "](https://" not in source] == []
    everything = " ".join(said.values())
    assert [title for title, place in published.PAPERS.items() if f"({place})" not in everything] == []


def test_the_page_of_the_command_line_has_every_option_of_every_command():
    import commands

    from minima.cli.parser import build

    sections = commands.reference().split("## minima ")[1:]
    parsers = build()[1]
    assert [section.split("\n")[0] for section in sections] == [*parsers]
    for section, parser in zip(sections, parsers.values(), strict=True):
        told = set(re.findall(r"(--?[a-z][-a-z]*)", section))
        helped = set(re.findall(r"(--?[a-z][-a-z]*)", parser.format_help()))
        assert {word for word in helped if word.startswith("--")} <= told
        assert " ".join(parser.description.split()) in section and "%(" not in section
    assert "(default: small, many, medium, vector)" in sections[[*parsers].index("bench")]


BESIDE = {
    ("MARS", "optimize_1d"): "says for which parameters the equations are others",
    ("SophiaG", "beta2"): "is of the estimate, which is not part of a step",
    ("SophiaG", "batch_size"): "likewise",
    ("SophiaG", "estimator"): "likewise",
    ("Muon", "ns_steps"): "says how many times lines are repeated",
    ("Shampoo", "interval"): "says in which steps lines are evaluated",
    ("Shampoo", "max_size"): "says for which parameters the equations are others",
    ("SOAP", "interval"): "as in Shampoo",
    ("SOAP", "max_size"): "as in Shampoo",
}
"""The settings that stand in no equation, and why."""


def plainly(latex):
    """Braces of one character make no difference."""
    return re.sub(r"\{(\w)\}", r"\1", latex)


@pytest.mark.parametrize("cls", optimizers.OPTIMIZERS, ids=lambda cls: cls.__name__)
def test_a_page_has_every_setting_in_an_equation_a_picture_a_paper_and_links(cls):
    name = cls.__name__
    page = optimizers.written(cls, {}, cards.read())
    parts = dict(zip(*[iter(re.split(r"^## (.+)\n", page, flags=re.MULTILINE)[1:])] * 2, strict=True))
    options = parts.get("Options", "")
    written = re.findall(r"```math\n(.*?)```|(Initially, .*)", parts["Equations"] + options, re.DOTALL)
    equations = plainly("\n".join(map("".join, written)))
    absent = list[tuple[str, str]]()
    for word, declared in cls.hyperparameters.items():
        alone = re.compile(rf"(?<![A-Za-z\\]){re.escape(plainly(letter(word)))}(?![A-Za-z])")
        is_word = declared.is_flag or any(isinstance(choice, str) for choice in declared.choices)
        if not (f"`{word}=" in options if is_word else alone.search(equations)):
            absent.append((name, word))
    assert absent == [it for it in BESIDE if it[0] == name]
    assert f"generated/{name.lower()}-light.svg" in page and "Report card" in parts
    assert "](https://" in parts["Source"] and f"\n### ::: minima.optim.{name}\n" in page
    assert "](../api/torch/algorithms.md#minima.torch." in parts["Inside PyTorch"]


@pytest.mark.parametrize("cls", optimizers.OPTIMIZERS, ids=lambda cls: cls.__name__)
def test_no_two_settings_and_arrays_of_a_rule_share_a_letter(cls):
    names = [*cls.hyperparameters, *cls.rule.state, "param", "grad", "t"]
    letters = [plainly(letter(name)) for name in names]
    assert [name for name, it in zip(names, letters, strict=True) if letters.count(it) > 1] == []


def test_every_public_name_stands_in_the_table_of_its_module_once_with_its_first_sentence(tmp_path):
    """The oracle is Python itself: `__all__`, and the first sentence of what `help` says."""
    import check
    import reference

    docs, generated = tmp_path / "docs", tmp_path / "docs" / "generated"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("generated"))
    generated.mkdir()
    (generated / "torch-algorithms.md").write_text(optimizers.classes())
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    reference.write(docs, generated, list(check.pages(nav)))
    for folder in filter(Path.is_dir, (docs / "api").iterdir()):
        module = importlib.import_module(f"minima.{folder.name}")
        table = (docs / "api" / f"{folder.name}.md").read_text()
        for piece in re.findall('--8<-- "(.+)"', table):
            table += (generated / piece).read_text()
        rows = re.findall(rf'^\| <a id="{module.__name__}\.(\w+)"></a>\[`\1`\]\((\S+)#(\S+)\) \| (.+) \|$', table, re.M)
        inner = {it.stem.rpartition(".")[2] for it in (docs / "api").glob(f"{folder.name}.*.md")}
        assert {*module.__all__} - inner <= {name for name, *_ in rows}
        assert len({name for name, *_ in rows}) == len(rows)
        for name, place, anchor, said in rows:
            page = (docs / "api" / place).resolve()
            if page.parent == docs / "api" / folder.name:
                assert anchor in page.read_text() + (generated / "torch-algorithms.md").read_text()
            else:
                assert page == docs / "optimizers" / f"{name.lower()}.md"
            obj = getattr(module, name)
            if inspect.isclass(obj) or inspect.isroutine(obj):
                whole = " ".join(inspect.getdoc(obj).split()).replace("``", "`").replace("|", "\\|")
                assert whole.startswith(said.rstrip(".")), name
        for heading, place in re.findall(r"^## \[(.+)\]\((\S+)\)$", table, re.M):
            assert (docs / "api" / place).read_text().startswith("# "), heading


def test_pages_lose_the_blanks_that_no_browser_shows_and_nothing_else():
    from lean import lean

    code = "<pre><span>if x:</span>\n\n        y  =  1\n</pre>"
    script = "<script>let a = '  ';\n\n  f(a)</script>"
    page = f"<ul>\n\n\n      <li>\n  one  <b>two</b> </li>\n{code}\n\n   {script}  </ul>\n"
    assert lean(page) == f"<ul>\n<li>\none <b>two</b> </li>\n{code}\n{script} </ul>\n"
    contents = '<nav class="md-nav md-nav--secondary"><a>one</a><nav><a>two</a></nav></nav>'
    for page in (f"<nav><a>x</a></nav>{contents}<p>", f"<nav><a>x</a>{contents}</nav>{contents}<p>"):
        assert lean(page) == f"<nav><a>x</a></nav>{contents}<p>", "only the second time"


def test_every_argument_of_pytorch_s_optimizers_stands_on_a_line_of_its_own_and_what_counts_is_told():
    """The oracles are PyTorch's own signatures."""
    torch = pytest.importorskip("torch")
    entries = dict(re.findall(r"^## `(\w+)`.*?\n(.*?)(?=^## |\Z)", optimizers.classes(), re.MULTILINE | re.DOTALL))
    shared = {name: getattr(torch.optim, name) for name in entries if hasattr(torch.optim, name)}
    assert len(shared) >= 12
    for name, theirs in shared.items():
        _, call, told = re.split(r"```python\n|```\n", entries[name])
        words = {*inspect.signature(theirs).parameters}
        lines = {line.strip().rstrip(",").partition("=")[0] for line in call.splitlines()}
        assert words <= lines and "..." in lines and "on_nonfinite" not in lines, name
        listed = re.findall(r"^- `(\w+)`: \S", told, re.MULTILINE)
        assert {"params", "lr", "weight_decay"} & words <= {*listed} <= {*words, "decoupled_weight_decay"}, name
