"""Chapters of the docs as notebooks, run from top to bottom; and their outputs, set below the code of the page.

A chapter is written once, as a page. `converted` makes a notebook of it, without the markup that only the site knows;
`run` executes it in a fresh interpreter; `shown` puts what each cell printed, returned and drew into the page.
"""

import base64
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

__all__ = ["CHAPTERS", "CellExecutionError", "converted", "run", "shown", "write"]

CHAPTERS = (
    "first-steps",
    "tutorial",
    "schedules",
    "gradients",
    "checkpoints",
    "pytorch",
    "jax",
    "all-the-way-down",
    "how-it-works",
    "extend",
)
SECONDS = 300
"""How long a cell may take."""
SETTINGS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
}
"""Of the environment: pictures are shown, whatever draws elsewhere, and one CPU plays eight devices."""
AT_ONCE = 2
"""Chapters that run beside each other."""
_CODE = re.compile(r"^```python\n.*?^```\n", re.DOTALL | re.MULTILINE)
_SKIP = re.compile(r"<!-- skip: next(?: if\((?P<condition>.*), reason=.*\))? -->\s*$")
"""What Sybil, which tests the pages, takes as a word to leave the next block alone."""
_IMPORT = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)
_FIGURE = re.compile(r"<figure[^>]*>\n(.*?)</figure>\n", re.DOTALL)
_PICTURE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<path>[^)#]+)(?P<only>#only-\w+)?\)(\{[^}]*\})?")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<page>[\w./-]+)\.md(?P<place>#[^)]*)?\)")
_TEXT = "text/plain"


def write(docs: Path, generated: Path, folder: Path) -> None:
    """Run all chapters: the pages of ``docs`` get their outputs and a link, and ``folder`` the notebooks.

    Args:
        docs: The pages, which are rewritten.
        generated: Where pictures and pieces are that pages show.
        folder: Where the notebooks go.

    Raises:
        CellExecutionError: A cell has failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {name: (docs / f"{name}.md").read_text() for name in CHAPTERS}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        notebooks = dict(
            zip(texts, pool.map(run, [converted(text, generated) for text in texts.values()]), strict=True)
        )
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
        (docs / f"{name}.md").write_text(shown(texts[name], notebook, generated, name))


def converted(text: str, generated: Path) -> Any:
    """A page as a notebook that has not been run."""
    text = re.sub(r'^--8<-- "([^"]+)"$', lambda found: (generated / found[1]).read_text(), text, flags=re.MULTILINE)
    pieces = [piece if is_run else _plain(piece) for is_run, piece in _parted(text)]
    notebook: Any = jupytext.reads("".join(pieces), "md")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.pop("jupytext", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same page is the same file
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"<!--.*?-->\n*", "", cell.source.replace("```py\n", "```python\n"), flags=re.DOTALL)
            _embed(cell, generated)
    return notebook


def run(notebook: Any) -> Any:
    """Execute a notebook in a fresh interpreter and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
        client.extra_arguments = ["--IPKernelApp.log_level=40"]  # it warns of the very way that it talks by default
        client.execute(env=os.environ | SETTINGS)
    for cell in notebook.cells:  # when each cell ran: no page needs it, and every build would differ
        cell.metadata.pop("execution", None)
    return notebook


def shown(text: str, notebook: Any, generated: Path, name: str) -> str:
    """A page with the outputs of its notebook, each below its code, and a link to the notebook below the title."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    pieces: list[str] = []
    for is_run, piece in _parted(text):
        pieces.append(piece)
        if is_run:
            pieces += _outputs(next(cells), generated, name)
    title, _, rest = "".join(pieces).partition("\n")
    return f"{title}\n\n[This page as a notebook](notebooks/{name}.ipynb){{ .notebook download }}\n{rest}"


def _parted(text: str) -> Iterator[tuple[bool, str]]:
    """Blocks of Python that are run, and what stands between them."""
    done = 0
    for found in _CODE.finditer(text):
        if (skip := _SKIP.search(text, done, found.start())) and eval(skip["condition"] or "True"):
            continue
        if not all(find_spec(module) for module in _IMPORT.findall(found[0])):
            break  # what comes after may need it
        yield False, text[done : found.start()]
        yield True, found[0]
        done = found.end()
    yield False, text[done:]


def _plain(text: str) -> str:
    """Markdown as every notebook shows it."""
    text = text.replace("```python\n", "```py\n")  # what is not run: jupytext makes no cell of it
    text = _FIGURE.sub(lambda found: _caption(found[1]), text)
    text = re.sub(r"^```math\n(.*?)^```$", r"$$\n\1$$", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r'^!!! \w+ "([^"]+)"\n\n((?:    .*\n|\n)+)', _quoted, text, flags=re.MULTILINE)
    text = re.sub(r"^\{ [^}\n]*\}\n", "", text, flags=re.MULTILINE)
    return _LINK.sub(lambda found: f"[{found['text']}](../{found['page']}.html{found['place'] or ''})", text)


def _caption(figure: str) -> str:
    picture = _PICTURE.search(figure)
    words = re.search(r"<figcaption[^>]*>(.*?)</figcaption>", figure, re.DOTALL)
    lines = [f"![{picture['alt']}]({picture['path']})"] if picture else []
    lines += [f"*{' '.join(words[1].split())}*"] if words else []
    return "\n\n".join(lines) + "\n"


def _quoted(found: "re.Match[str]") -> str:
    lines = [f"**{found[1]}**", "", *(line[4:] for line in found[2].rstrip().splitlines())]
    return "".join(f"> {line}".rstrip() + "\n" for line in lines) + "\n"


def _embed(cell: Any, generated: Path) -> None:
    """Make a notebook carry the pictures that a cell shows."""
    for found in list(_PICTURE.finditer(cell.source)):
        file = (generated.parent / found["path"]).with_suffix(".png")
        cell.source = cell.source.replace(found[0], f"![{found['alt']}](attachment:{file.name})")
        data = base64.b64encode(file.read_bytes()).decode()
        cell.setdefault("attachments", {})[file.name] = {"image/png": data}


def _outputs(cell: Any, generated: Path, name: str) -> Iterable[str]:
    """What a cell gave, as Markdown of the site."""
    for number, output in enumerate(cell.outputs):
        data = {_TEXT: output.text} if output.output_type == "stream" else output.data
        if "image/svg+xml" in data or "image/png" in data:
            kind, path = ("svg", "image/svg+xml") if "image/svg+xml" in data else ("png", "image/png")
            file = generated / f"{name}-{cell.id}-{number}.{kind}"
            content = data[path]
            file.write_bytes(content.encode() if kind == "svg" else base64.b64decode(content))
            yield f"\n![What the code above draws](generated/{file.name}){{ .output }}\n"
        elif "text/latex" in data:
            yield f"\n```math\n{data['text/latex'].strip('$')}\n```\n"
        else:
            yield f"\n```{{ .text .output }}\n{data[_TEXT].rstrip()}\n```\n"
