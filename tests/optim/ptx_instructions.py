"""What instructions of PTX do, in NumPy: each is read once, and becomes a function of the threads that take part in it.

It knows the instructions that our kernels are printed in, and refuses others when it reads them; arithmetic must be
rounded as IEEE 754 has it. Registers are kept as unsigned numbers, or as booleans; an instruction reads them as its own
type.
"""

import re
from functools import cache, lru_cache, partial

import numpy as np

WARP = 32
LINES = 2**14
"""So many lines stay read."""
BOOL, I64, U16, U32, U64 = map(np.dtype, ("?", "i8", "u2", "u4", "u8"))
REGISTERS = {"%p": BOOL, "%rs": U16, "%r": U32, "%rd": U64, "%ctaid.x": U32, "%ntid.x": U32, "%tid.x": U32}
_REGISTER = re.compile(r"%[\w.]+")


@cache
def typed(word):
    """The type that a word names."""
    if word == "pred":
        return BOOL
    return np.dtype({"f": "f", "u": "u", "s": "i", "b": "u"}[word[0]] + str(int(word[1:]) // 8))


def kept(register, dtype):
    """The type in which a register is kept that is read, or set, as a type."""
    kind = REGISTERS[register.rstrip("0123456789")]
    fits = dtype.itemsize == kind.itemsize or dtype.itemsize < kind.itemsize and dtype.kind in "iu"
    assert fits and (kind == BOOL) == (dtype == BOOL), f"{register} is taken as {dtype}"
    return kind


def names(operands):
    """The registers in operands."""
    return _REGISTER.findall(operands)


# Values --------------------------------------------------------------------------------------------------------------


def constant(operand, dtype):
    """A number in the text, as an array without axes."""
    if operand[:2] in ("0f", "0d"):
        word = np.array(int(operand[2:], 16), "u4" if operand[1] == "f" else "u8")
    else:
        word = np.array(int(operand.rstrip("U"), 0) & (1 << 8 * dtype.itemsize) - 1, f"u{dtype.itemsize}")
    return word.view(dtype)


@lru_cache(LINES)
def value(operand, dtype):
    """A function that gives, for threads, what an operand is as a type."""
    if operand[0] != "%":
        number = constant(operand, dtype)
        return lambda threads: number
    if dtype.itemsize == kept(operand, dtype).itemsize:
        return lambda threads: threads.registers[operand].view(dtype)
    return lambda threads: threads.registers[operand].astype(dtype)


@cache
def keeping(kind, dtype):
    """A function that gives what a register of a kind keeps of values of a type."""
    if dtype.itemsize == kind.itemsize:
        return lambda value: value.view(kind)
    return lambda value: value.astype(kind)  # extended by its sign, or by zeros


def setting(target, dtype, function, *values):
    """Sets a register to what a function gives of values, in a type."""
    keep = keeping(kept(target, dtype), dtype)

    def step(threads):
        threads.registers[target] = keep(function(*[each(threads) for each in values]))

    return step


def computing(target, dtype, function, *operands, result=None):
    """Sets a register to what a function gives of operands of one type."""
    assert any(operand[0] == "%" for operand in operands), f"{operands} are the same in all threads"
    return setting(target, result or dtype, function, *(value(operand, dtype) for operand in operands))


def filling(target, dtype, number):
    """Sets a register to one number in all threads."""
    return setting(target, dtype, lambda threads: np.full(threads.numbers.size, number(threads)), lambda x: x)


# Arithmetic ----------------------------------------------------------------------------------------------------------


def arithmetic(function, words, target, *operands):
    dtype = typed(words[-1])
    if dtype.kind == "f" and function is not np.negative:
        assert words[:-1] == ["rn"], f"rounded by {words}"
    else:
        assert words[:-1] in ([], ["lo"]), words
    return computing(target, dtype, function, *operands)


def of_whole_numbers(function, words, *operands):
    assert words[0][0] in "us"
    return arithmetic(function, words, *operands)


def quotient(words, *operands):
    if words[-1][0] == "f":
        return arithmetic(np.divide, words, *operands)
    assert words[-1][0] == "u"
    return arithmetic(np.floor_divide, words, *operands)


def magnitude(words, target, x):
    def function(x):  # PTX leaves open what sign NaN has: it may keep its own, of which GPUs' own is a minus
        return np.where(np.isnan(x), np.copysign(x, x.dtype.type(-1)), np.abs(x))

    return computing(target, typed(*words), function, x)


def wide_product(word, target, x, y, *more):
    """The whole product, of twice as many bits, and a sum with it."""
    dtype = typed(word)
    wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")

    def function(x, y, *more):
        return sum(more, x.astype(wide) * y.astype(wide))

    return setting(target, wide, function, value(x, dtype), value(y, dtype), *(value(each, wide) for each in more))


def product(words, target, *operands):
    if words[0] == "wide":
        return wide_product(words[1], target, *operands)
    return arithmetic(np.multiply, words, target, *operands)


def product_and_sum(words, target, *operands):
    if words[0] == "wide":
        return wide_product(words[1], target, *operands)
    assert words[0] == "lo"
    return arithmetic(lambda x, y, z: x * y + z, words, target, *operands)


# Bits ----------------------------------------------------------------------------------------------------------------


def shift(function, words, target, x, by):
    dtype = typed(*words)
    bits = 8 * dtype.itemsize
    if by[0] != "%":
        assert int(by) < bits
        return computing(target, dtype, function, x, by)

    def shifted(x, by):
        found = function(x, np.minimum(by, bits - 1).astype(dtype))
        return np.where(by >= bits, dtype.type(0), found) if dtype.kind == "u" else found

    return setting(target, dtype, shifted, value(x, dtype), value(by, U32))


def count_of_zeros(words, target, x):
    assert words == ["b64"]
    return computing(target, U64, lambda x: np.array([64 - int(n).bit_length() for n in x], U32), x, result=U32)


def field(words, target, x, first, many):
    dtype = typed(*words)
    assert dtype.kind == "u"
    first, mask = dtype.type(int(first)), dtype.type((1 << int(many)) - 1)
    return computing(target, dtype, lambda x: x >> first & mask, x)


def permutation(words, target, x, y, picks):
    assert words == ["b32"]
    picks = int(picks.rstrip("U"), 0)
    numbers = [picks >> 4 * i & 15 for i in range(4)]

    def picked(x, y):
        both = np.stack(np.broadcast_arrays(x, y), 1).view(np.uint8)
        chosen = [both[:, n] if n < 8 else (both[:, n - 8] >> 7) * np.uint8(255) for n in numbers]  # or its sign
        return np.stack(chosen, 1).view(U32)[:, 0]

    return computing(target, U32, picked, x, y)


def move(words, target, source):
    dtype = typed(*words)
    if target[0] == "{":
        return unpacking(dtype, *re.findall(r"[%\w]+", target), source)
    if source[0] == "{":
        return packing(target, dtype, *names(source))
    if source[0] != "%":
        number = constant(source, dtype)
        return filling(target, dtype, lambda threads: number)
    return computing(target, dtype, lambda x: x, source)


def unpacking(dtype, low, high, source):
    """Sets two registers to the halves of a value, or one, where the other half goes nowhere."""
    half, whole = np.dtype(f"u{dtype.itemsize // 2}"), value(source, dtype)
    bits = dtype.type(8 * half.itemsize)
    steps = []
    if low != "tmp":
        steps.append(setting(low, half, lambda x: x.astype(half), whole))
    if high != "tmp":
        steps.append(setting(high, half, lambda x: (x >> bits).astype(half), whole))
    return in_turn(steps)


def packing(target, dtype, low, high):
    """Sets a register to a value of two halves."""
    half = np.dtype(f"u{dtype.itemsize // 2}")
    bits = dtype.type(8 * half.itemsize)
    return computing(target, half, lambda low, high: high.astype(dtype) << bits | low, low, high, result=dtype)


def in_turn(steps):
    def step(threads):
        for each in steps:
            each(threads)

    return step


# Comparisons and conversions -----------------------------------------------------------------------------------------

COMPARISONS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}
COMPARISONS |= {"gt": np.greater, "ge": np.greater_equal}


def unordered(x, y):
    return np.isnan(x) | np.isnan(y)


def comparison(words, target, x, y):
    name, dtype = words[0], typed(words[1])
    assert dtype.kind == "f" or name in COMPARISONS, words

    def compared(x, y):
        if name in ("nan", "num"):
            return unordered(x, y) == (name == "nan")
        result = COMPARISONS[name[:2]](x, y)
        return result | unordered(x, y) if name[2:] == "u" else result & ~unordered(x, y)

    assert name in ("nan", "num") or name[:2] in COMPARISONS and name[2:] in ("", "u"), words
    # What is ordered is so by NumPy too, but that NaN is not equal to anything.
    simple = name in COMPARISONS and (dtype.kind != "f" or name != "ne")
    return computing(target, dtype, COMPARISONS[name] if simple else compared, x, y, result=BOOL)


def choice(words, target, x, y, condition):
    dtype = typed(*words)
    return setting(target, dtype, np.where, value(condition, BOOL), value(x, dtype), value(y, dtype))


def conversion(words, target, x):
    *rounding, into, word = words
    into, dtype = typed(into), typed(word)

    def convert(x):
        if rounding == ["rzi"]:
            top = np.iinfo(into)
            x = np.clip(np.nan_to_num(np.trunc(x.astype(np.float64))), top.min, top.max)
        elif rounding == ["rmi"]:
            x = np.floor(x)
        return x.astype(into)

    if rounding not in (["rzi"], ["rmi"]):
        exact = into.kind != "f" or dtype.kind == "f" and into.itemsize > dtype.itemsize
        assert rounding == ([] if exact else ["rn"]), words
    return computing(target, dtype, convert, x, result=into)


# Meetings ------------------------------------------------------------------------------------------------------------


def barrier(words, *operands):
    assert (words, operands) in ((["sync"], ("0",)), (["warp", "sync"], ("-1",)))
    return in_turn([])


def exchange(words, target, x, distance, clamp, members):
    assert words == ["sync", "bfly", "b32"] and (clamp, members) == ("31", "-1") and int(distance) < WARP
    return computing(target, U32, lambda x: x[np.arange(x.size) ^ int(distance)], x)


def vote(words, target, x, members):
    assert words == ["sync", "any", "pred"] and members == "-1"
    return computing(target, BOOL, lambda x: np.repeat(x.reshape(-1, WARP).any(1), WARP), x)


# Memory --------------------------------------------------------------------------------------------------------------


def access(words, place):
    """A function that gives all memory as entries, and where threads find theirs; their type, and how many they are."""
    assert words[0] == "global", "an access outside of the global space"
    dtype, many = typed(words[-1]), int(words[1][1:]) if words[1][0] == "v" else 1
    register, _, offset = place[1:-1].partition("+")
    base, offset = value(register, I64), int(offset or 0)
    return lambda threads: threads.memory.at(base(threads) + offset, dtype, many), dtype, many


def load(words, target, place):
    if words[0] == "param":
        number = int(re.search(r"_param_(\d+)\]", place).group(1))
        dtype = typed(words[1])
        return filling(target, dtype, lambda threads: np.int64(threads.arguments[number]).astype(dtype))
    find, dtype, many = access(words, place)
    keeps = {name: keeping(kept(name, dtype), dtype) for name in names(target)}
    assert len(keeps) == many

    def step(threads):
        entries, first = find(threads)
        for i, (name, keep) in enumerate(keeps.items()):
            threads.registers[name] = keep(entries[first + i])

    return step


def store(words, place, source):
    is_shared = words[0] in ("relaxed", "volatile")  # then others may write there too: here only the same
    find, dtype, many = access(words[words.index("global") :] if is_shared else words, place)
    values = [value(name, dtype) for name in re.findall(r"[%\w]+", source)]
    assert len(values) == many

    def step(threads):
        entries, first = find(threads)
        given = [each(threads) for each in values]
        is_sound = (first[1:] > first[:-1]).all() or np.unique(first).size == first.size
        is_sound = is_sound or is_shared and all(np.unique(x).size == 1 for x in given)
        assert is_sound, "two threads write to one place"
        for i, each in enumerate(given):
            entries[first + i] = each

    return step


STEPS = {
    "abs": magnitude,
    "add": partial(arithmetic, np.add),
    "and": partial(arithmetic, np.bitwise_and),
    "bar": barrier,
    "bfe": field,
    "clz": count_of_zeros,
    "cvt": conversion,
    "div": quotient,
    "ld": load,
    "mad": product_and_sum,
    "max": partial(of_whole_numbers, np.maximum),
    "min": partial(of_whole_numbers, np.minimum),
    "mov": move,
    "mul": product,
    "neg": partial(arithmetic, np.negative),
    "not": partial(arithmetic, np.invert),
    "or": partial(arithmetic, np.bitwise_or),
    "prmt": permutation,
    "rcp": partial(arithmetic, np.reciprocal),
    "selp": choice,
    "setp": comparison,
    "shfl": exchange,
    "shl": partial(shift, np.left_shift),
    "shr": partial(shift, np.right_shift),
    "sqrt": partial(arithmetic, np.sqrt),
    "st": store,
    "sub": partial(arithmetic, np.subtract),
    "vote": vote,
    "xor": partial(arithmetic, np.bitwise_xor),
}
"""By name a function of the words and the operands of an instruction: what it does with threads."""
