"""What NumPy refuses to compute, told as minima tells mistakes."""

from collections.abc import Sequence
from typing import Any

from minima.autograd.primitive import Primitive
from minima.errors import sentence

__all__ = ["refusal"]

# A part of NumPy's message, and the rule that was broken.
_RULES = {
    "could not be broadcast": "the shapes must agree by the rules of broadcasting",
    "could not broadcast": "the shapes must agree by the rules of broadcasting",
    "more dimensions than allowed by the axis remapping": "the shapes must agree by the rules of broadcasting",
    "mismatch in its core dimension": "the last axis of the first must be as long as the last but one of the second",
    "does not have enough dimensions": "the operands must have an axis at least",
    "cannot reshape array of size": "the new shape must have as many elements as the old one",
    "can only specify one unknown dimension": "one size may be -1, and no second one",
    "setting an array element with a sequence": "what is written must be real numbers",
    "could not convert string": "what is written must be real numbers",
    "must be a string or a real number": "what is written must be real numbers",
    "cannot be interpreted as an integer": "sizes and axes must be integers",
    "zero-size array to reduction": "among no elements there is no largest and no smallest",
    "of an empty sequence": "among no elements there is no largest and no smallest",
    "not supported for the input types": "it is not defined for elements of this type",
    "does not support ufuncs": "only the operands may be tensors",
    "did not contain a loop": "it is not defined for elements of this type",
}


def refusal(
    primitive: Primitive, operands: Sequence[Any], statics: dict[str, Any], error: Exception, who: str = ""
) -> Exception:
    """The error to raise in place of NumPy's ``error``; ``who`` complains, by default the primitive."""
    who = who or ("Tensor" if primitive.name == "getitem" else primitive.name)
    told = str(error).removeprefix(f"{who}: ").rstrip(" .")
    kind = IndexError if type(error) is IndexError else TypeError if isinstance(error, TypeError) else ValueError
    rule = next((rule for part, rule in _RULES.items() if part in told), told)
    shapes: list[Any] = [getattr(x, "shape", x) for x in operands]
    for name, whole in (("axis", "axes"), ("axes", "all axes")):
        if kind is ValueError and name in statics and ("axis" in told or "axes" in told):
            ndim = len(shapes[0])
            return kind(sentence(who, f"{name} must name {whole} in [-{ndim}, {ndim}), each once", got=statics[name]))
    if kind is TypeError:
        given = (
            next(iter(statics.values()))
            if len(statics) == 1
            else statics or [str(getattr(x, "dtype", x)) for x in operands]
        )
        return kind(sentence(who, rule, got=given))
    if "to" in statics:
        shapes.append(statics["to"])
    return kind(sentence(who, rule, got=shapes if len(shapes) > 1 else shapes[0]))
