"""Who counts the steps of an optimizer: the host; or a GPU, where nothing is to wait for it, or a graph is to record.

A GPU counts what `Mode` says, where compiled code steps all parameters, on one NVIDIA GPU, and nothing in a step is
computed in Python: no function of the step. It also counts where a rule computes with the loss, which is there. Until
it has been run on a GPU, that is only where it is asked for.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from minima.errors import sentence
from minima.torch import choice as choices
from minima.torch.device_counts import Mode
from minima.torch.loss import loss_there
from minima.torch.memory import is_sharded, local
from minima.torch.private import foreach

if TYPE_CHECKING:
    from minima.torch.holdings import Holdings

__all__ = ["Misplaced", "check", "estimate", "is_there", "keep_here", "obstacle", "take", "takes_scaled"]


_INSIDE = "is_inside"
"""The option of an optimizer that has a loop around it."""


class Misplaced(Exception):
    """A GPU counts the steps of a parameter that it cannot step any longer."""


def is_there(tensor: torch.Tensor) -> bool:
    """Whether a GPU can count the steps of a parameter."""
    return tensor.is_cuda


def _wanted(held: "Holdings", on_nonfinite: str, *, is_scaled: bool) -> Mode | None:
    """How a GPU is to count, if one is.

    Raises:
        ValueError: A graph is to record steps that look at what they compute. Nothing was changed.
    """
    mode = Mode(held.is_capturable, is_scaled or on_nonfinite == "skip", is_scaled)
    if mode.is_capturable and on_nonfinite == "raise" and any(is_there(slot.tensor) for slot in held.slots):
        rule = "on_nonfinite 'raise' waits for the GPU in each step, and does not go with capturable=True"
        raise ValueError(sentence(f"{held.host.who}.step", rule, hint="use 'skip'; nothing was changed"))
    is_told = held.host.variants.rule.needs_loss and on_nonfinite != "raise"
    return mode if is_told or mode != Mode() else None


def obstacle(held: "Holdings", mode: Mode, *, measure: bool = False) -> str:
    """Why steps cannot be counted on a GPU, if they cannot."""
    host, rule, is_asked = held.host, held.host.variants.rule, held.options.get("engine") == "fused"
    if not (mode.is_capturable or is_asked or "counts" in choices.RUN_ON_GPUS):
        return "counting on a GPU has not been run on one yet: engine='fused' asks for it"
    tensors = [slot.tensor for slot in held.slots]
    if not all(map(is_there, tensors)):
        return "not all parameters are on an NVIDIA GPU"
    if len({tensor.device for tensor in tensors}) > 1:
        return "the parameters are on several GPUs"
    functions = [name for values in held.groups for name in values.active]
    if functions:
        return f"{functions[0]} is a function of the step, which Python computes"
    if held.options.get(_INSIDE):
        return "a loop around the optimizer looks at its counts"
    if rule.needs_loss and any(map(is_sharded, tensors)):
        return "parameters are sharded, and all processes compute with the mean of their losses"
    if mode.is_guarded and any(map(is_sharded, tensors)):
        return "parameters are sharded, and all processes decide together which steps to leave out"
    for slot in held.slots:
        settings = slot.values.settings
        program = host.program(slot, settings.variant)
        if host.takes_turns(slot, settings.variant):
            return f"what {host.who} does depends on the step"
        choice = host.choice(slot, program.measured() if measure else program)
        if choice.engine != "fused":
            return f"{slot} gets engine {choice.engine!r}: {choice.reason}"
    return ""


def _settle(held: "Holdings", mode: Mode | None, *, measure: bool) -> None:
    """Let the host or a GPU count, as a step wants it.

    Raises:
        ValueError: A graph is to record steps that the host must count. Nothing was changed.
        RuntimeError: Gradients are scaled, and so it is. Nothing was changed.
    """
    counts = held.host.counts
    if mode is None and counts.device is None:
        return
    for values in held.stepper.groups:
        values.look(counts.t)
    key = mode, measure, held.stepper.planned, tuple(name for values in held.groups for name in values.active)
    if held.settled == key:
        return
    mode = _allowed(held, mode, measure=measure)
    if counts.device is not None and not (mode and counts.are_there()):
        _come_back(held)
        held.host.mode = mode
    if mode is not None and counts.device is None:
        fresh = [slot.is_new for slot in held.slots]
        counts.go(held.slots[0].tensor.device, mode, fresh, held.stepper.skipped)
        held.stepper.forget()
    elif mode is not None and counts.device is not None and counts.device.mode != mode:
        counts.device.mode = mode
        held.stepper.forget()
    held.settled = key


def keep_here(held: "Holdings") -> None:
    """Let the host count for good, as what is around the optimizer looks at its counts."""
    if not held.options.get(_INSIDE):
        held.options[_INSIDE], held.settled = True, None
        if held.host.counts.device is not None:
            _come_back(held)


def _come_back(held: "Holdings") -> None:
    """Let the host count again."""
    held.read()
    held.host.counts.come_back()
    held.host.mode = held.settled = None
    held.stepper.forget()


def check(held: "Holdings") -> None:
    """A ValueError where a graph is to record steps that the host must count."""
    _allowed(held, _wanted(held, held.options.get("on_nonfinite", "propagate"), is_scaled=False))


def _allowed(held: "Holdings", mode: Mode | None, *, measure: bool = False) -> Mode | None:
    """How a GPU is to count, if one can."""
    held.host.mode = mode
    if mode is None or not (why := obstacle(held, mode, measure=measure)):
        return mode
    held.host.mode = None
    who = f"{held.host.who}.step"
    if mode.is_scaled:
        hint = "leave the optimizer out of loss scaling, or step it without; nothing was changed"
        raise RuntimeError(sentence(who, f"gradients that are scaled cannot be stepped: {why}", hint=hint))
    if mode.is_capturable and any(is_there(slot.tensor) for slot in held.slots):
        rule = f"capturable=True is for steps that a GPU takes alone: {why}"
        raise ValueError(sentence(who, rule, hint="leave capturable out; nothing was changed"))
    return None


def takes_scaled(held: "Holdings") -> bool:
    """Whether a step by gradients that a ``GradScaler`` has scaled needs nothing of it that waits for a GPU."""
    key = held.stepper.planned, tuple(name for values in held.groups for name in values.active)
    if held.scales[:1] != (key,):
        held.scales = key, not obstacle(held, Mode(held.is_capturable, True, True))
    return held.scales[1]


def take(held: "Holdings", on_nonfinite: str, seed: int, measure: bool, loss: Any, told: tuple[Any, Any]) -> bool:
    """Take a step that a GPU counts, without waiting for it, if one is to; whether it was taken.

    Args:
        held: What the optimizer holds.
        on_nonfinite: What to do about gradients, or a loss, that are not finite.
        seed: As for `Stepper.step`.
        measure: Whether to measure, which waits.
        loss: The loss, if it is known.
        told: What a ``GradScaler`` says, if it does: whether something was found that is not finite, a tensor; and how
            many times too large gradients are, a tensor too, or None where they are as they should be.
    """
    is_scaled, is_far = told != (None, None), bool(held.slots) and is_there(held.slots[0].tensor)
    if held.host.counts.device is None and not (is_scaled or is_far):
        return False
    mode = _wanted(held, on_nonfinite, is_scaled=is_scaled)
    for _ in range(2):  # once more where parameters have moved
        _settle(held, mode, measure=measure)
        if held.host.counts.device is None:
            return False
        with suppress(Misplaced):
            _take(held, on_nonfinite, seed, measure, loss, told)
            return True
    return False


def _take(held: "Holdings", on_nonfinite: str, seed: int, measure: bool, loss: Any, told: tuple[Any, Any]) -> None:
    stepper, counts, (found, scale) = held.stepper, held.host.counts.device, told
    assert counts is not None
    found = found.to(counts.device, torch.float32) if isinstance(found, torch.Tensor) else None
    needs_loss = held.host.variants.rule.needs_loss
    if loss is not None and (needs_loss or on_nonfinite == "skip"):
        loss = loss_there(f"{held.host.who}.step", loss, counts.device)
    if on_nonfinite == "skip":
        wild = _not_finite([slot.tensor.grad for slot in held.slots], loss, counts.device)
        found = wild if found is None else torch.maximum((found != 0).float(), wild)
    counts.begin(found, 1.0 if scale is None else scale)
    before = stepper.measures
    stepper.step("propagate", seed, measure, loss if needs_loss else None)
    if measure and found is not None and found.item() != 0:
        stepper.measures = before


def estimate(held: "Holdings", on_nonfinite: str, seed: int) -> None:
    """Take what stands for the gradients into the state, whoever counts steps: this is none."""
    for _ in range(2):  # once more where parameters have moved
        if (device := held.host.counts.device) is not None:
            device.begin(None, 1.0, ticks=False)
        try:
            return held.stepper.estimate("update_estimate", on_nonfinite, seed)
        except Misplaced:
            _come_back(held)


@torch.no_grad()
def _not_finite(grads: Sequence[Any], loss: Any, device: torch.device) -> torch.Tensor:
    """1 where a gradient or the loss is not finite, else 0, on a GPU."""
    kinds: dict[torch.dtype, list[torch.Tensor]] = {}
    for grad in grads:
        if grad is not None and grad.layout == torch.strided and grad.device == device and grad.numel():
            plain = local(grad)
            kinds.setdefault(plain.dtype, []).append(plain)
    largest: Any = foreach("norm")
    verdicts = [torch.stack(largest(each, math.inf)).isfinite().all() for each in kinds.values()]
    if isinstance(loss, torch.Tensor):
        verdicts.append(loss.detach().to(device).isfinite().all())
    elif loss is not None and not math.isfinite(loss):
        verdicts.append(torch.zeros((), dtype=torch.bool, device=device))
    if not verdicts:
        return torch.zeros((), dtype=torch.float32, device=device)
    return 1.0 - torch.stack(verdicts).all().float()
