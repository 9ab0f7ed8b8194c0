"""Pictures as SVG in the two schemes of the site: drawn once, and recoloured for the dark one.

A picture is drawn again only where something that it shows has changed: `keep` goes by the content of the files.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "build" / "pictures"
SOURCE = sorted((ROOT / "src" / "minima").rglob("*.py"))
"""What a picture depends on that runs the library."""
SCHEMES = {"light": ("#9aa3b5", "#4a5060"), "dark": ("#5a6478", "#b9c0cf")}
"""Lines and text of each scheme. Figures are drawn in the light ones."""
LINE, TEXT = SCHEMES["light"]

# The salt here and the missing date below: the same picture is the same file, whenever it is drawn.
plt.rcParams["svg.hashsalt"] = "minima"


def save(figure: Any, folder: Path, stem: str, *, in_notebooks: bool = False) -> None:
    """Write STEM-light.svg and STEM-dark.svg, with STEM-light.png for notebooks too, and close the figure."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    if in_notebooks:
        figure.savefig(folder / f"{stem}-light.png", facecolor="white", dpi=110)
    plt.close(figure)
    text = buffer.getvalue()
    for scheme in SCHEMES:
        (folder / f"{stem}-{scheme}.svg").write_text(recoloured(text, scheme), encoding="utf-8")


def recoloured(svg: str, scheme: str) -> str:
    """A light picture in the lines and the text of a scheme."""
    inks = dict(zip(SCHEMES["light"], SCHEMES[scheme], strict=True))
    return re.sub("|".join(inks), lambda found: inks[found[0]], svg)


def keep(name: str, folder: Path, inputs: Iterable[Path], draw: Callable[[Path], None]) -> None:
    """Let the pictures of ``draw`` be in a folder: drawn, or as they were when the inputs were the same."""
    digest = hashlib.sha256(matplotlib.__version__.encode())
    for path in [*inputs, Path(__file__)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    kept = STORE / f"{name}-{digest.hexdigest()[:16]}"
    if not kept.exists():
        for old in STORE.glob(f"{name}-*"):
            shutil.rmtree(old)
        fresh = STORE / f"{name}.part"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        draw(fresh)
        fresh.rename(kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
