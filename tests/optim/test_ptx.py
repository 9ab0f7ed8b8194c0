"""The interpreter of PTX in ptx.py: threads that part and meet again, and what it refuses."""

import numpy as np
import pytest
from ptx import Kernel, Memory

THREADS = 64
KERNEL = """
.visible .entry tried(.param .u64 tried_param_0)
{{
	ld.param.b64 	%rd1, [tried_param_0];
	mov.u32 	%r1, %tid.x;
	mul.wide.u32 	%rd2, %r1, 4;
	add.s64 	%rd3, %rd1, %rd2;
{body}
	st.global.b32 	[%rd3], %r2;
	ret;
}}
"""
STEPS_TO_ONE = """
	add.s32 	%r3, %r1, 1;
	mov.b32 	%r2, 0;
	setp.eq.b32 	%p1, %r3, 1;
	@%p1 bra 	$DONE;
$LOOP:
	add.s32 	%r2, %r2, 1;
	and.b32 	%r4, %r3, 1;
	setp.ne.b32 	%p2, %r4, 0;
	@%p2 bra 	$ODD;
	shr.u32 	%r3, %r3, 1;
	bra.uni 	$NEXT;
$ODD:
	mad.lo.s32 	%r3, %r3, 3, 1;
$NEXT:
	setp.ne.b32 	%p3, %r3, 1;
	@%p3 bra 	$LOOP;
$DONE:
	shfl.sync.bfly.b32 	%r5, %r2, 1, 31, -1;
	max.s32 	%r2, %r2, %r5;
"""


def launched(body, size=THREADS):
    found, memory = np.zeros(size, np.uint32), Memory()
    Kernel(KERNEL.format(body=body)).launch(1, THREADS, [memory.allow(found)], memory)
    return found.tolist()


def steps_to_one(number):
    return 0 if number == 1 else 1 + steps_to_one(3 * number + 1 if number % 2 else number // 2)


def test_threads_part_in_loops_of_their_own_and_meet_behind_them():
    alone = [steps_to_one(number + 1) for number in range(THREADS)]
    assert launched(STEPS_TO_ONE) == [max(alone[i], alone[i ^ 1]) for i in range(THREADS)]


REFUSED = {
    "an access is not aligned": "add.s64 %rd3, %rd3, 2;",
    "an access is outside of all arrays": "add.s64 %rd3, %rd3, 4;",
    "an access outside of the global space": "ld.shared.b32 %r2, [%rd3];",
    "two threads write to one place": "and.b64 %rd3, %rd3, -8;",
    "a part of a warp, or of a block, waits": "setp.ne.b32 %p1, %r1, 40;\n@%p1 bra $ON;\nret;\n$ON:\nbar.sync 0;",
    "rounded by": "add.f32 %r2, %r1, %r1;",
    "a guard of": "@%p1 add.s32 %r2, %r1, 1;",
    "is taken as": "add.s64 %rd4, %r1, 1;",
}


@pytest.mark.parametrize("words, line", REFUSED.items(), ids=REFUSED)
def test_it_refuses(words, line):
    is_set = "mov.b32 %r2, 0;\n"
    assert launched(is_set) == [0] * THREADS
    with pytest.raises(AssertionError, match=words):
        launched(is_set + line)


@pytest.mark.parametrize("line", ["", "mov.b32 %r2, %r9;", "popc.b32 %r2, %r1;", "bra $NOWHERE;"])
def test_it_knows_no_register_that_is_not_set_and_no_instruction_or_place_by_chance(line):
    with pytest.raises(KeyError):
        launched(line)
