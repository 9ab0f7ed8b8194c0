"""Who counts the steps of an optimizer: the host; or GPUs, where nothing is to wait for them, or a graph is to record.

GPUs count as `Mode` says, where compiled code steps all parameters, on NVIDIA GPUs, and nothing in a step is computed
in Python: no function of the step. They also count where a rule computes with the loss, which is there. Until it has
been run on a GPU, that is only where it is asked for.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from minima.errors import sentence
from minima.optim.core.model import part_of
from minima.optim.language.rule import GIVEN
from minima.torch.device_counts import Mode
from minima.torch.loss import loss_there
from minima.torch.memory import brought, is_sharded, local, sharded
from minima.torch.private import foreach, is_flattened
from minima.torch.sharding import Shards, placed
from minima.torch.soundness import is_freed

if TYPE_CHECKING:
    from minima.torch.holdings import Holdings

__all__ = ["Misplaced", "check", "estimate", "is_there", "keep_here", "obstacle", "take", "takes_scaled"]


RUN_ON_SEVERAL = False
"""Whether ``benchmarks/results/gpus.md`` says that steps on several GPUs, and of shards, have been run; until then the
GPUs count only where ``capturable`` or the fused engine is asked for."""
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
    is_capturable, is_guarded = held.is_capturable, is_scaled or on_nonfinite == "skip"
    is_told = held.host.variants.rule.needs_loss and on_nonfinite != "raise"
    if not (is_capturable or is_guarded or is_told):
        return None
    if is_capturable and on_nonfinite == "raise" and any(is_there(slot.tensor) for slot in held.slots):
        rule = "on_nonfinite 'raise' waits for the GPU in each step, and does not go with capturable=True"
        raise ValueError(sentence(f"{held.host.who}.step", rule, hint="use 'skip'; nothing was changed"))
    return Mode(is_capturable, is_guarded, is_scaled)


def obstacle(held: "Holdings", mode: Mode, *, measure: bool = False) -> str:
    """Why steps cannot be counted on a GPU, if they cannot."""
    host, rule = held.host, held.host.variants.rule
    tensors = [slot.tensor for slot in held.slots]
    if not all(map(is_there, tensors)):
        return "not all parameters are on an NVIDIA GPU"
    if mode.is_capturable and (why := _far(held, tensors)):
        return f"{why}, and a graph records one GPU"
    functions = [name for values in held.groups for name in values.active]
    if functions:
        return f"{functions[0]} is a function of the step, which Python computes"
    if held.options.get(_INSIDE):
        return "a loop around the optimizer looks at its counts"
    if rule.needs_loss and any(map(is_sharded, tensors)):
        return "parameters are sharded, and all processes compute with the mean of their losses"
    if mode.is_guarded and any(map(is_flattened, tensors)):
        return "FullyShardedDataParallel has flattened the parameters, and its processes decide together on the host"
    is_spread = len({tensor.device for tensor in tensors}) > 1
    is_asked = mode.is_capturable or held.options.get("engine") == "fused"
    if (is_spread or any(map(is_sharded, tensors))) and not (RUN_ON_SEVERAL or is_asked):
        return "counting on several GPUs has not been run on such a machine yet: engine='fused' asks for it"
    for slot in held.slots:
        settings = slot.values.settings
        program = host.program(slot, settings.variant)
        part = part_of(program)
        if is_spread and (part.shared or part.asked & {*GIVEN} or part.counts and rule.needs_loss):
            return f"{host.who} computes what all parameters share, and they are on several GPUs"
        if host.takes_turns(slot, settings.variant):
            return f"what {host.who} does depends on the step"
        choice = host.choice(slot, program.measured() if measure else program)
        if choice.engine != "fused":
            return f"{slot} gets engine {choice.engine!r}: {choice.reason}"
    return ""


def _far(held: "Holdings", tensors: Sequence[torch.Tensor]) -> str:
    """What of a step is on another GPU than its first parameter, if anything is."""
    first = tensors[0].device if tensors else None
    if any(tensor.device != first for tensor in tensors):
        return "the parameters are on several GPUs"
    numbers = [pair for watched in held.stepper.groups for pair in watched.settings.numbers.items()]
    found = [(name, x.device) for name, x in numbers if isinstance(x, torch.Tensor) and x.device != first]
    return f"{found[0][0]} is a tensor on {found[0][1]}, the parameters are on {first}" if found else ""


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
        counts.go([slot.tensor.device for slot in held.slots], mode, fresh, held.stepper.skipped)
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
    mode, found = _wanted(held, on_nonfinite, is_scaled=is_scaled), None
    for attempt in range(2):  # once more where parameters have moved
        _settle(held, mode, measure=measure)
        if held.host.counts.device is None:
            return False
        if not attempt:
            found = _left_out(held, on_nonfinite, loss, told[0])
        try:
            _take(held, found, seed, measure, loss, told[1])
            return True
        except Misplaced:
            _come_back(held)
    return False


def _take(held: "Holdings", found: torch.Tensor | None, seed: int, measure: bool, loss: Any, scale: Any) -> None:
    stepper, counts = held.stepper, held.host.counts.device
    assert counts is not None
    needs_loss = loss is not None and held.host.variants.rule.needs_loss
    loss = loss_there(f"{held.host.who}.step", loss, counts.devices[0]) if needs_loss else None
    counts.begin(found, 1.0 if scale is None else scale)
    measures, t = stepper.measures, stepper.clock.t
    try:
        stepper.step("propagate", seed, measure, loss)
    finally:
        if stepper.clock.t > t:
            counts.end()
    if measure and found is not None and found.item() != 0:
        stepper.measures = measures


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
def _left_out(held: "Holdings", on_nonfinite: str, loss: Any, found: Any) -> torch.Tensor | None:
    """A number on a GPU that is not 0 where a step is to be left out: in all processes, where parameters are sharded.

    None stands for steps that never are. ``found`` is what a ``GradScaler`` has found, if it has looked: along the axes
    of a mesh that shards of the first gradient go along, no others.
    """
    params = [slot.tensor for slot in held.slots]
    first = params[0].device
    wild = found if isinstance(found, torch.Tensor) else None
    if isinstance(found, int | float):  # a sum over no gradients
        wild = torch.full((), float(found), dtype=torch.float32, device=first)
    if on_nonfinite == "skip":
        loss = None if loss is None else loss_there(f"{held.host.who}.step", loss, first, is_read=False)
        known = _of_gradients(held, params) + _of_loss(loss, first) + ([] if wild is None else [wild.reshape(()) != 0])
        together = [brought(x, first).float() for x in known] or [torch.zeros((), device=first)]
        wild = together[0] if len(together) == 1 else torch.stack(together).amax()
    if wild is None:
        return None
    for param in {cast(Any, param).device_mesh: param for param in sharded(params)}.values():
        wild = Shards(param).any_of(brought(wild, param.device))
    return wild


def _of_gradients(held: "Holdings", params: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Numbers on the devices of the gradients, of which one is not 0 where a gradient is not finite."""
    grads = [grad for param in params if (grad := param.grad) is not None]
    if {*map(type, grads)} - {torch.Tensor}:
        grads = [_local(param, grad) for param in params if (grad := param.grad) is not None]
    counts = held.host.counts.device
    assert counts is not None
    found = held.finite(grads, counts.devices, is_recorded=counts.mode.is_capturable)
    if found is not None:
        return found
    kinds: dict[Any, list[torch.Tensor]] = {}
    for grad in grads:
        if grad.layout == torch.strided and grad.numel() and not is_freed(grad):  # a step complains of others
            kinds.setdefault((grad.device, grad.dtype), []).append(local(grad))
    largest: Any = foreach("norm")
    return [~torch.stack(largest(each, math.inf)).isfinite().all() for each in kinds.values()]


def _local(param: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """A gradient as far as it is here."""
    return local(placed(grad, param) if is_sharded(param) and is_sharded(grad) else grad)


def _of_loss(loss: Any, device: torch.device) -> list[torch.Tensor]:
    """A number that is not 0 where the loss is not finite, unless it is known to be."""
    if isinstance(loss, torch.Tensor):
        return [~loss.isfinite().all()]
    return [] if loss is None or math.isfinite(loss) else [torch.ones((), device=device)]
