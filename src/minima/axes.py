"""Axes to draw on, which only Matplotlib has."""

from typing import Any, cast

from minima.errors import sentence

__all__ = ["axes"]


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
