"""Axes to draw on, which only Matplotlib has, and files to draw into."""

from pathlib import Path
from typing import Any, cast

from minima.errors import sentence

__all__ = ["axes", "picture"]


def axes(who: str, **figure: Any) -> Any:
    """The axes of a new figure.

    Args:
        who: The public function that complains.
        figure: What ``pyplot.subplots`` takes.

    Raises:
        ImportError: Matplotlib cannot be imported.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(sentence(who, "a picture needs Matplotlib", hint="pip install matplotlib")) from error
    return cast(Any, pyplot).subplots(layout="constrained", **figure)[1]


def picture(who: str, name: str, value: str) -> Path:
    """The path of a picture, sure to be writable once there is something to draw.

    Args:
        who: The command that complains.
        name: Its option.
        value: The path, whose ending names the format.

    Raises:
        ValueError: The ending names no format.
        OSError: The file cannot be written.
    """
    path = Path(value)
    if path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise ValueError(sentence(who, f"{name} must end in .png, .svg or .pdf", got=value))
    was_there = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise OSError(sentence(who, f"cannot write {name} {value}: {error.strerror}")) from None
    if not was_there:
        path.unlink()  # nothing may be drawn in the end
    return path
