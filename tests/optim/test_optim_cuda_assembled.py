"""NVIDIA's assembler takes the kernels of all sorts, and spills no registers but where that is known."""

import re
import shutil
import subprocess
from functools import partial

import pytest
from test_optim_cuda import CASES, EVERYTHING, IN_8_BITS, KINDS, PASSES, printed, programs
from test_optim_cuda_rows import PARTS, lines_ptx, part_of, stages
from test_optim_cuda_rows import programs as of_rows

from minima import optim
from minima.optim.engines.cuda.finite import EXPONENTS, finite_ptx
from minima.optim.engines.cuda.model import begin_ptx
from minima.optim.engines.cuda.notes import note_ptx
from minima.optim.engines.cuda.rows import given_ptx, rows_ptx

CARDS = "sm_80", "sm_90"
SPILLS = {
    "exp_avg-exp_avg_diff-exp_avg_sq-prev_grad-Adan-float32-float32-int8 minima_Adan": (144, 204, 196),
    "exp_avg-exp_avg_sq-ADOPT-float32-float32-int8 minima_ADOPT": (8, 4, 4),
    "exp_avg-exp_avg_sq-exp_avg_slow-AdEMAMix-float32-float32-int8 minima_AdEMAMix": (48, 92, 84),
    "exp_avg-exp_avg_sq-master-LAMB-bfloat16-float32-bfloat16 minima_LAMB_pass_1": (8, 4, 4),
    "exp_avg-exp_avg_sq-max_exp_avg_sq-Adam-bfloat16-float32-int8 minima_Adam": (24, 48, 40),
    "exp_avg-exp_avg_sq-max_exp_avg_sq-Adam-float32-float32-int8 minima_Adam": (32, 56, 48),
    "exp_avg-exp_avg_sq-max_exp_avg_sq-AdamW-float32-float32-int8 minima_AdamW": (40, 72, 64),
    "exp_avg-exp_avg_sq-max_exp_avg_sq-master-Adam-bfloat16-float32-int8 minima_Adam": (32, 64, 56),
    "exp_avg-exp_avg_sq-s-start-d-numerator-Prodigy-float32-float32-int8 minima_Prodigy_pass_0": (24, 16, 16),
    "exp_avg-exp_avg_var-max_exp_avg_var-AdaBelief-float32-float32-int8 minima_AdaBelief": (40, 72, 64),
    "peak-last-Words-float32-float32-int8 minima_Words": (40, 44, 36),
    "row_var-col_var-Adafactor-float32-float32-None minima_Adafactor_pass_0": (8, 8, 8),
    "row_var-col_var-Adafactor-float32-float32-None minima_Adafactor_small_1": (112, 112, 200),
    "row_var-col_var-Adafactor-float32-float32-None-scaled minima_Adafactor_small_1": (112, 112, 200),
    "row_var-col_var-exp_avg-res_row-res_col-CAME-float32-float32-None minima_CAME_small_3": (64, 64, 108),
    "row_var-col_var-exp_avg-res_row-res_col-CAME-float32-float32-None-scaled minima_CAME_small_3": (64, 64, 108),
}
"""By test and kernel the bytes of memory that a thread takes for lack of registers, that it writes and reads there.

Of the steps that are measured, which nobody takes all the time, it is not asked.
"""


def of_rules():
    """Every rule in float32, its state so too and in 8 bits, Adam and LAMB in all kinds; and guarded, in two forms."""
    variants, plainest, _ = programs(optim.Adam)
    for kind in KINDS:
        yield f"plainest-Adam-{'-'.join(map(str, kind))}", True, partial(printed, variants, plainest, kind)
    for case in (*CASES, *PASSES):
        variants, program, kind = case.values
        rule = variants.rule.name
        if kind in (KINDS[0], IN_8_BITS) or rule in ("Adam", "LAMB"):
            is_sample = kind == KINDS[0] and rule in ("Adam", "Words", "LAMB", "Adafactor")
            yield case.id, is_sample, partial(printed, *case.values)
        if kind == KINDS[0]:
            for form in ("scaled", "measured"):
                text = partial(printed, *case.values, getattr(program, form)())
                yield f"{case.id}-{form}", rule == "LAMB", text


def of_numbers():
    """The kernels that compute single numbers, and those that hand them on."""
    for case in of_rows():
        for compute in ("float32", "float64"):
            text = partial(rows_ptx, case.values[1], compute)
            yield f"rows-{case.id}-{compute}", case.id in ("Numbers-0", "Adam-0", "LAMB-0"), text
    for case in PARTS:
        program, is_sample = case.values[1], case.id in ("Whole-0", "Prodigy-0")
        if program.wide:
            yield f"given-{case.id}", is_sample, partial(given_ptx, program)
        for stage in stages(program):
            lines = part_of(program).lines(stage)
            for is_guarded in (False, True):
                text = partial(lines_ptx, program, "end" if stage is None else str(stage), lines, is_guarded)
                yield f"model-{case.id}-{stage}-{is_guarded}", is_sample, text
    yield "begin", True, partial(begin_ptx, "begin", 3, 2)
    yield "note", True, note_ptx
    for kind in EXPONENTS:
        yield f"finite-{kind}", kind in ("float32", "float64"), partial(finite_ptx, kind)


KERNELS = [
    pytest.param(called, text, id=called)
    for called, is_sample, text in (*of_rules(), *of_numbers())
    if EVERYTHING or is_sample
]


@pytest.mark.skipif(shutil.which("ptxas") is None, reason="needs NVIDIA's assembler")
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("called, text", KERNELS)
def test_kernels_assemble_without_spilling(called, text, card, tmp_path):
    (tmp_path / "kernel.ptx").write_text(text())
    command = ["ptxas", "-v", f"-arch={card}", str(tmp_path / "kernel.ptx"), "-o", str(tmp_path / "kernel.cubin")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    numbers = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    found = re.findall(rf"properties for (\w+)\n\s*{numbers}", said)
    assert sorted(name for name, *_ in found) == sorted(re.findall(r"\.entry (\w+)", text())) and "smem" not in said
    for name, *taken in found:
        most = SPILLS.get(f"{called} {name}", (0, 0, 0))
        is_kept = all(int(many) <= allowed for many, allowed in zip(taken, most, strict=True))
        assert is_kept or called.endswith("-measured"), (name, taken)
