"""The reference: tables of all names, constructors, and the calls of what stands in no file.

docs/api/MODULE.md is the page of a module. The reference of a large module stands on the pages of docs/api/MODULE/, and
its own page includes api-MODULE.md: every public name, by page, with the first sentence of its docstring. The rows
carry the anchors that the names would have on a page with the whole module.
"""

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from inspect import Parameter, getdoc, signature
from pathlib import Path, PurePosixPath

import griffe

from minima import optim
from minima.optim.rules import RULES

__all__ = ["call", "constructor", "write"]

_NAMED = re.compile(r"^#* *::: (minima\.\S+)$|\{ #(minima\.\S+) \}", re.MULTILINE)
_INCLUDED = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
_HEAD = "| Name | What it is |\n| --- | --- |\n"


def write(docs: Path, generated: Path, pages: Sequence[str]) -> None:
    """Write the tables: of all modules, of each large one, and of the optimizers.

    Pages come in the order of the navigation. What they include has to be there already.
    """
    modules = [PurePosixPath(page) for page in pages if re.fullmatch(r"api/(?!index)[^/]+\.md", page)]
    said = _Said()
    rows = [f"| [`minima.{page.stem}`]({page.name}) | {said(f'minima.{page.stem}')} |\n" for page in modules]
    (generated / "api.md").write_text("| Module | What is in it |\n| --- | --- |\n" + "".join(rows))
    for module in (page.stem for page in modules if (docs / page.with_name(page.stem)).is_dir()):
        parts = [PurePosixPath(page) for page in pages if page.startswith((f"api/{module}/", f"api/{module}."))]
        text = "\n".join(_table(module, page, docs, generated, said) for page in parts if page.stem != module)
        (generated / f"api-{module}.md").write_text(text)
    rows = [_row("optim", f"minima.optim.{name}", f"../optimizers/{name.lower()}.md", said) for name in RULES]
    (generated / "optim-algorithms.md").write_text(_HEAD + "".join(rows))


def constructor(cls: type[optim.Optimizer], params: str) -> str:
    """The signature of an optimizer, as a part of its own page, and the keywords that it shares with all others."""
    common = [f"`{name}`" for name in signature(cls).parameters if name not in {"params", *cls.hyperparameters}]
    return (
        f"### ::: minima.optim.{cls.__name__}\n    options:\n      members: false\n"
        "      show_docstring_description: false\n      show_docstring_parameters: false\n\n"
        f"`params`: {params} Every optimizer also takes {', '.join(common[:-1])} and {common[-1]}; "
        "[what they do](../api/optim/optimizer.md#minima.optim.Optimizer)."
    )


def call(name: str, parameters: Iterable[Parameter]) -> str:
    """The signature of what is made at run time, an argument a line; the dots stand for the keywords that all take."""
    lines = list[str]()
    for it in parameters:
        if it.kind is it.KEYWORD_ONLY and "*" not in lines:
            lines.append("*")
        lines.append(str(it.replace(annotation=it.empty)))
    return f"```python\n{name}(\n" + "".join(f"    {line},\n" for line in lines) + "    ...\n)\n```"


class _Said:
    """The first sentence of the docstring of a name: in the source, or in Python for what is made at run time."""

    def __init__(self) -> None:
        self._package = griffe.load("minima", search_paths=[Path(optim.__file__).parents[2]])

    def __call__(self, identifier: str) -> str:
        try:
            docstring = self._package[identifier.removeprefix("minima.")].docstring
        except KeyError:
            docstring = None
        if docstring is None:
            module, _, name = identifier.rpartition(".")
            text = getdoc(getattr(import_module(module), name)) or ""
        else:
            text = docstring.value
        if not text:
            raise SystemExit(f"docs: {identifier} has no docstring")
        first = re.split(r"(?<=\.)\s", text.partition("\n\n")[0])[0]
        return " ".join(first.split()).rstrip(":.").replace("``", "`").replace("|", "\\|") + "."


def _table(module: str, page: PurePosixPath, docs: Path, generated: Path, said: _Said) -> str:
    """The names of one page, under its title."""
    text = _INCLUDED.sub(lambda found: (generated / found[1]).read_text(), (docs / page).read_text())
    title = text.partition("\n")[0].removeprefix("# ")
    if page.parent.name == module:
        title = title.removeprefix(f"minima.{module}: ")
        title = title[0].upper() + title[1:]
        owner, names = module, [one or other for one, other in _NAMED.findall(text)]
    else:  # a module inside this one, with a page of its own
        owner = page.stem
        names = [f"minima.{owner}.{name}" for name in import_module(f"minima.{owner}").__all__]
    place = page.relative_to("api").as_posix()
    rows = [_row(owner, name, place, said) for name in names]
    return f"## [{title}]({place})\n\n{_HEAD}{''.join(rows)}"


def _row(module: str, identifier: str, place: str, said: _Said) -> str:
    name = identifier.rpartition(".")[2]
    return f'| <a id="minima.{module}.{name}"></a>[`{name}`]({place}#{identifier}) | {said(identifier)} |\n'
