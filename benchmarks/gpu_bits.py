"""Checks on a GPU of bits, beside the CPU's, and of numbers, beside those of torch.optim."""

from typing import Any

import torch
from gpu_checking import Task, check
from gpu_samples import DEVICE, PASSES, RULES, differences, drawn, give, kinds, pair

import minima.torch as mt

__all__ = ["TASKS"]


def check_bits(rule: str) -> None:
    compare("bits", rule)


def check_passes(rule: str) -> None:
    compare("passes", rule)


def compare(part: str, rule: str) -> None:
    """Three steps on the GPU beside the same on the CPU, with and without special values."""
    for dtype, options in kinds(rule):
        words = " ".join(f"{name}={value}" for name, value in options.items())
        with check(part, f"{rule} {str(dtype)[6:]} {words}".strip()) as faults:
            for wild in (False, True):
                draw, cpu, gpu, ours, theirs = pair(rule, dtype, **options)
                for step in range(3):
                    give(draw, cpu, gpu, scale=10.0**-step, wild=wild)
                    ours.step(measure=step == 2), theirs.step(measure=step == 2)
                faults += differences(cpu, gpu, ours, theirs)
                if repr(ours.measures.total) != repr(theirs.measures.total):
                    faults.append(f"measured {theirs.measures.total}, and not {ours.measures.total}")
                if not theirs.engines[str(gpu[0].device)].startswith("fused"):
                    faults.append(str(theirs.engines))


# PyTorch's numbers ---------------------------------------------------------------------------------------------------

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True},
    ],
    "Adam": [{"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.3}, {"lr": 0.1, "amsgrad": True}],
    "AdamW": [{}, {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True, "maximize": True}],
    "RMSprop": [
        {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.01, "alpha": 0.9, "eps": 1e-2, "centered": True},
    ],
    "Adagrad": [{"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.3}],
}
CLOSE = {torch.float64: (1e-11, 1e-12), torch.float32: (2e-5, 2e-6), torch.bfloat16: (0.06, 0.06)}
"""Relative and absolute tolerance; in bfloat16, with its state so too, of what PyTorch computes in float32."""


def check_same(rule: str) -> None:
    for options in SETTINGS[rule]:
        words = " ".join(f"{key}={value}" for key, value in options.items())
        for dtype in CLOSE:
            for engine in ("fused", "torch"):
                with check("same", f"{rule} {str(dtype)[6:]} engine={engine} {words}".rstrip()):
                    beside_pytorch(rule, dtype, engine=engine, **options)


def beside_pytorch(rule: str, dtype: torch.dtype, engine: str, **options: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    mine = [drawn(shape, dtype, draw).to(DEVICE).requires_grad_() for shape in ((33, 14), (5,), ())]
    wide = dtype if dtype != torch.bfloat16 else torch.float32
    other = [x.detach().to(wide).requires_grad_() for x in mine]
    ours = getattr(mt, rule)(mine, engine=engine, **options)
    theirs = getattr(torch.optim, rule)(other, **options)
    for _ in range(7):
        for x, y in zip(mine, other, strict=True):
            x.grad = drawn(x.shape, dtype, draw).to(DEVICE)
            y.grad = x.grad.to(wide)
        ours.step(), theirs.step()
    relative, absolute = CLOSE[dtype]
    for x, y in zip(mine, other, strict=True):
        torch.testing.assert_close(x.detach().to(wide), y.detach(), rtol=relative, atol=absolute)


TASKS = [
    *(Task("bits", check_bits, rule) for rule in RULES),
    *(Task("passes", check_passes, rule) for rule in PASSES),
    *(Task("same", check_same, rule) for rule in SETTINGS),
]
