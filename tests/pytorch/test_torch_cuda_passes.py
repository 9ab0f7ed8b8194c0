"""All rules of several passes on NVIDIA GPUs, without one; every reduction; and that kernels keep to their memory."""

import builtins

import pytest
import torch
from interpreted import Interpreted, Storages
from tensors import told
from test_optim_cuda import EVERYTHING, PASSES
from test_torch_cuda import FEW_SIZES, KINDS, Largest, compare_passes, name
from test_torch_cuda_counts import compared, same

from minima import optim
from minima import torch as mt
from minima.optim import abs as magnitude
from minima.optim import hyper, norm
from minima.optim.core.variants import Variants
from minima.optim.engines.cpu import layout, pieces, small
from minima.optim.engines.cpu import phases as cpu_phases
from minima.optim.engines.cpu import reductions as cpu_reductions
from minima.optim.engines.cpu.kernel import compile_kernel
from minima.optim.engines.cuda import phases as cuda_phases
from minima.optim.engines.cuda import sums
from minima.optim.engines.passes import obstacle, products
from minima.optim.engines.reductions import CHUNK
from minima.optim.language.operations import REDUCTIONS
from minima.optim.language.vocabulary import PerColumn, PerRow, max, mean, sum
from minima.torch import counting


class Every(optim.Optimizer):
    """Every reduction: of all elements, of rows, of columns, and of what there is for each row or column."""

    lr: float = hyper(0.01, low=0)

    @staticmethod
    def update(param, grad, rows: PerRow, columns: PerColumn, *, lr):
        size = magnitude(grad)
        across = sum(size, axis=1) + mean(size**2, axis=1) + max(size, axis=1) + norm(size, axis=1)
        down = sum(size, axis=0) + mean(size**2, axis=0) + max(size, axis=0) + norm(size, axis=0)
        whole = sum(size) + mean(size**2) + max(size) + norm(size)
        whole = whole + max(down) + sum(across) + norm(across) + mean(down)
        return param - lr * grad / (1 + across + down + whole), 0.9 * rows + across, 0.9 * columns + down


HYPERS = {
    "Adafactor": {"momentum": 0.9, "weight_decay": 0.1},
    "DAdaptAdam": {"d0": 1e-2, "bias_correction": True},
    "DAdaptSGD": {"d0": 1e-2},
    "LAMB": {"trust_clip": True},
    "LARS": {"momentum": 0.9, "weight_decay": 0.1, "trust_clip": True},
    "MARS": {"weight_decay": 0.1, "max_norm": 0.5},
    "MoMo": {"weight_decay": 0.1, "maximize": True, "bound": -3.0},
    "NovoGrad": {"weight_decay": 0.1, "grad_averaging": True},
    "Prodigy": {"d0": 1e-2, "bias_correction": True, "safeguard_warmup": True, "weight_decay": 0.1},
    "SM3": {"momentum": 0.9},
    "StableAdamW": {"cautious": True},
}
"""Hyperparameters by which a rule does more than by its defaults."""
SIZES = ((), 31, (0, 3), (33, 9), (2, 140), (CHUNK + 4, 1))
"""Several bands of rows, several chunks; some without elements."""
LONG = (2, CHUNK + 4)
"""Rows of several chunks."""


def rules():
    """The rules of several passes, but for those that multiply matrices; and what is no rule of its own.

    Each with hyperparameters, and whether it knows of rows and columns.
    """
    for called in dict.fromkeys(variants.rule.name for variants, _, _ in (case.values for case in PASSES)):
        rule = getattr(optim, called)
        programs = Variants(rule.rule, rule._declaration).all_programs()
        if not any(products(program) or obstacle(program, [""]) for program in programs):
            yield called, mt.adapt(rule), HYPERS.get(called, {}), any(program.by_rows for program in programs)
    yield "clipped and averaged", mt.AdamW, {"max_norm": 0.5, "ema_decay": 0.9}, False
    yield "every reduction", mt.adapt(Every), {}, True
    yield "largest", mt.adapt(Largest), {}, True


def cases(kinds):
    """Every rule in each of the kinds, where it has it."""
    for called, cls, hypers, by_rows in rules():
        for dtype, options in kinds:
            if not (by_rows and (dtype.is_complex or options.get("state_dtype") == "int8")):
                yield pytest.param(cls, hypers, dtype, options, id=f"{called}-{dtype}-{options}")


@pytest.mark.parametrize("cls, hypers, dtype, options", list(cases(KINDS if EVERYTHING else KINDS[:1])))
def test_every_rule_of_several_passes_has_the_bits_of_the_cpu(on_grid, cls, hypers, dtype, options):
    compare_passes(on_grid, cls, hypers, dtype, options, SIZES)


def test_rules_that_are_left_out_multiply_matrices_or_have_no_compiled_code():
    left = {case.values[0].rule.name for case in PASSES} - {called for called, *_ in rules()}
    for rule in (getattr(optim, called) for called in left):
        if not any(map(products, Variants(rule.rule, rule._declaration).all_programs())):
            param = torch.ones(3, 3, requires_grad=True)
            param.grad = torch.ones(3, 3)
            with pytest.raises(ValueError, match="engine 'fused' cannot step parameter 0"):
                mt.adapt(rule)([param], engine="fused").step()


@pytest.mark.parametrize("cls", [mt.LAMB, mt.adapt(Every)], ids=name)
def test_long_rows_have_the_bits_of_the_cpu(on_grid, cls):
    compare_passes(on_grid, cls, {}, torch.float32, {}, (LONG, (1, 2 * CHUNK)))


def test_bands_are_added_up_group_by_group_by_group(on_grid, monkeypatch):
    for module in (layout, small, cpu_phases, cuda_phases, sums):
        monkeypatch.setattr(module, "BAND", 4)  # for as many groups of 64 rows a matrix would have to be large
    for printed in (compile_kernel, cuda_phases.phases_ptx):
        monkeypatch.setattr(printed, "kept", {})
    compare_passes(on_grid, mt.adapt(Every), {}, torch.float32, {}, ((300, 3), (33, 9), (17, 2)))


def test_sums_of_many_chunks_have_the_bits_of_the_cpu_whichever_warp_comes_last(on_grid, monkeypatch):
    monkeypatch.setattr(Interpreted, "apart", builtins.max)
    for module in (layout, pieces, cpu_phases, cpu_reductions, cuda_phases, sums):
        monkeypatch.setattr(module, "CHUNK", 64)  # for as many chunks of 4,096 a tensor would have to be large
    for printed in (compile_kernel, cuda_phases.phases_ptx):
        monkeypatch.setattr(printed, "kept", {})
    compare_passes(on_grid, mt.LAMB, {}, torch.float32, {}, (65 * 64,))


SCALED = [
    case
    for case in cases(KINDS if EVERYTHING else KINDS[:1])
    if EVERYTHING or case.id.startswith(("NAdam-", "every reduction-"))
]


@pytest.mark.parametrize("cls, hypers, dtype, options", SCALED)
def test_scaled_gradients_have_the_bits_of_others_and_steps_are_left_out(monkeypatch, cls, hypers, dtype, options):
    def run():
        draw = torch.Generator().manual_seed(1)
        params = [torch.randn(size, generator=draw).to(dtype).requires_grad_() for size in SIZES]
        optimizer = cls(params, engine="fused", capturable=True, **hypers, **options)
        on_gpu = counting.is_there(params[0])
        for number in range(4):
            for param in params:
                param.grad = torch.randn(param.shape, generator=draw).to(dtype) * (4.0 if on_gpu else 1.0)
            if on_gpu:
                optimizer.found_inf, optimizer.grad_scale = torch.tensor(float(number == 1)), torch.tensor(4.0)
            if on_gpu or number != 1:
                optimizer.step(measure=number == 3, **told(optimizer))
        assert optimizer.t == 3
        return optimizer, params

    found = compared(monkeypatch, run)
    same(found)
    assert repr(dict(found[0][0].measures).values()) == repr(dict(found[1][0].measures).values())


def test_every_reduction_is_interpreted():
    rule = Variants(Every.rule, Every._declaration)
    used = {line.operation for program in rule.all_programs() for line in program.body}
    assert used & REDUCTIONS.keys() == REDUCTIONS.keys()


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [mt.AdamW, mt.LAMB, mt.adapt(Largest)], ids=name)
@pytest.mark.parametrize("pattern", [r"(ld\.global\.b32 .*\[%rd\d+)\]", r"(st\.global\.b32 .*\[%rd\d+)\]"])
def test_a_kernel_that_leaves_its_memory_is_seen(on_grid, monkeypatch, cls, pattern):
    monkeypatch.setattr(Interpreted, "fault", (pattern, r"\1+268435456]"))
    with pytest.raises(AssertionError, match="an access is outside of all arrays"):
        compare_passes(on_grid, cls, {}, torch.float32, {}, FEW_SIZES)


def test_only_storages_that_live_and_whose_address_was_asked_for_are_a_kernels_to_use(monkeypatch):
    storages, kept, unknown = Storages(), torch.ones(3), torch.ones(3)
    whole = torch.ones(10)
    gone, part = torch.ones(5), whole[2:4]
    storages.watch(monkeypatch)
    kept.data_ptr(), part.data_ptr(), gone.data_ptr()
    begins = {x.untyped_storage().data_ptr() for x in (kept, whole, gone)}
    assert {begin for begin, _ in storages.ranges()} == begins
    assert (whole.untyped_storage().data_ptr(), whole.untyped_storage().data_ptr() + 40) in storages.ranges()
    begin = gone.untyped_storage().data_ptr()
    del gone
    assert begin not in {begin for begin, _ in storages.ranges()} and unknown.numel() == 3
