"""The pictures of the docs: one drawing for both schemes, and none that is drawn twice."""

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools" / "docs"
pytest.importorskip("matplotlib")
sys.path.append(str(TOOLS))

import drawn  # noqa: E402 - the folder is no package
import matplotlib.pyplot as plt  # noqa: E402


def figure(line, text):
    made, axes = plt.subplots()
    axes.plot([0, 1], color=line)
    axes.plot([1, 0], color="#3f7fd9", alpha=0.5)
    axes.set_title("title", color=text)
    return made


def test_a_picture_recoloured_for_the_dark_is_the_one_drawn_in_dark_ink(tmp_path):
    for scheme, inks in drawn.SCHEMES.items():
        drawn.save(figure(drawn.LINE, drawn.TEXT), tmp_path, "drawn")
        straight = figure(*inks)
        straight.savefig(tmp_path / "straight.svg", transparent=True, metadata={"Date": None})
        plt.close(straight)
        assert (tmp_path / f"drawn-{scheme}.svg").read_text() == (tmp_path / "straight.svg").read_text()
    assert (tmp_path / "drawn-light.svg").read_text() != (tmp_path / "drawn-dark.svg").read_text()


def test_pictures_are_drawn_again_only_where_an_input_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "STORE", tmp_path / "store")
    source, out, calls = tmp_path / "source.json", tmp_path / "out", []

    def draw(folder):
        calls.append(1)
        (folder / "one.svg").write_text(source.read_text())

    for content, expected in (("a", 1), ("a", 1), ("b", 2), ("b", 2)):
        source.write_text(content)
        drawn.keep("one", out, [source], draw)
        assert (out / "one.svg").read_text() == content and len(calls) == expected
    assert len(list((tmp_path / "store").iterdir())) == 1
