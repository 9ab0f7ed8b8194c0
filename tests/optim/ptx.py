"""A GPU for tests, in NumPy: runs a kernel in PTX on the memory of this process, all threads side by side.

It knows the instructions that our kernels are printed in, and is strict: an access must be aligned and inside of what
was allowed, no two threads may write to one place at once, whole warps must exchange values, arithmetic must be rounded
as IEEE 754 has it. Those threads go on that stand at the least place in the code, so that threads that part meet again;
where a warp exchanges values, or a block meets, they wait for the others.
"""

import ctypes
import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import numpy as np

WARP = 32
MEETINGS = ("shfl", "vote", "bar")
STOPS = (*MEETINGS, "bra", "ret")
"""Behind these lines threads may part, or have to wait."""
REGISTERS = {"%p": np.bool_, "%rs": np.uint16, "%r": np.uint32, "%rd": np.uint64}
_LINE = re.compile(r"(?:@(!?)(%p\d+)\s+)?([\w.]+)\s*(.*);")
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+")


class Memory:
    """The memory of this process."""

    FIRST = 4096

    def __init__(self):
        room = (ctypes.c_uint8 * (2**47 - self.FIRST)).from_address(self.FIRST)
        self._bytes = np.ctypeslib.as_array(room)
        self._arrays = []
        self.allow_only([])

    def allow(self, array):
        """Let kernels read and write an array; its address."""
        self._arrays.append(array)
        self.allow_only([(x.ctypes.data, x.ctypes.data + x.nbytes) for x in self._arrays])
        return array.ctypes.data

    def allow_only(self, ranges):
        """Let kernels read and write what is from one address to in front of another, and nothing else."""
        begins, ends = np.array([(0, 0), *sorted(ranges)], np.int64).T
        self._begins, self._ends = begins.copy(), np.maximum.accumulate(ends)  # one may be within another

    def at(self, addresses, dtype, many):
        """All memory as entries of a dtype, and where in it groups of so many entries are."""
        size = dtype.itemsize
        assert not (addresses % (size * many)).any(), "an access is not aligned"
        place = np.searchsorted(self._begins, addresses, side="right") - 1
        inside = (place >= 0) & (addresses + size * many <= self._ends[place])
        assert inside.all(), "an access is outside of all arrays"
        whole = self._bytes[: self._bytes.size // size * size].view(dtype)
        return whole, (addresses - self.FIRST) // size


@dataclass
class Instruction:
    guard: str | None
    negated: bool
    name: str
    words: list[str]
    operands: list[str]


class Kernel:
    """A kernel, read: the only one of a text, or that of a name."""

    def __init__(self, text, name=None):
        self.name = re.search(r"\.entry (\w+)", text).group(1) if name is None else name
        self.apart = None
        """Which of some warps goes first, as far as it can: who has to wait for another and does not is
        seen. None lets all go side by side."""
        text = text[re.search(rf"\.entry {self.name}\b", text).start() :]
        self.code, self.labels = [], {}
        for line in text[text.index("\n{") + 2 : text.index("\n}")].splitlines():
            line = line.partition("//")[0].strip()
            if not line or line.startswith("."):
                continue
            if line.endswith(":"):
                self.labels[line[:-1]] = len(self.code)
                continue
            packed = re.fullmatch(r"\{ \.reg \.b\d+ tmp; (.*;) \}", line)  # of which one half goes nowhere
            negated, guard, operation, rest = _LINE.fullmatch(packed.group(1) if packed else line).groups()
            name, *words = operation.split(".")
            self.code.append(Instruction(guard, negated == "!", name, words, _OPERAND.findall(rest)))
        self.stops = [i for i, line in enumerate(self.code) if line.name in STOPS] + [len(self.code)]

    def launch(self, blocks, threads, arguments, memory):
        """Run it to its end."""
        _Run(self, blocks, threads, arguments, memory).go()


@cache
def _dtype(word):
    return np.dtype({"f": "f", "u": "u", "s": "i", "b": "u"}[word[0]] + str(int(word[1:]) // 8))


@cache
def _unsigned(dtype):
    return np.dtype(f"u{dtype.itemsize}")


class _Run:
    def __init__(self, kernel, blocks, threads, arguments, memory):
        self.kernel, self.arguments, self.memory = kernel, arguments, memory
        self.threads, lanes = threads, np.arange(blocks * threads, dtype=np.uint32)
        self.lanes = lanes
        self.special = {"%ctaid.x": lanes // threads, "%tid.x": lanes % threads, "%ntid.x": lanes * 0 + threads}
        self.registers = {}
        self.mask = lanes == lanes
        """Who takes part in the present instruction."""
        self.is_by_all = True

    def go(self):
        code, at = self.kernel.code, np.zeros(self.lanes.size, np.int64)
        waits, warps = at != at, self.lanes // WARP
        with np.errstate(all="ignore"):
            while (free := ~waits & (at < len(code))).any():
                mine = warps == self.kernel.apart(warps[free]) if self.kernel.apart else free | True
                now = int(at[free & mine].min())
                line, here = code[now], at == now
                if line.name != "bar":
                    here &= mine
                if line.name not in STOPS:  # until another thread is met, or they may part
                    end = self.kernel.stops[bisect_left(self.kernel.stops, now)]
                    end = int(at[free & mine & ~here].min(initial=end))
                    at[here] = end
                    for line in code[now:end]:
                        self._take_part(here, line)
                        getattr(self, f"_{line.name}")(line.words, *line.operands)
                    continue
                if line.name in MEETINGS:
                    many = self.threads if line.words + line.operands == ["sync", "0"] else WARP
                    together = np.repeat(here.reshape(-1, many).all(1), many)
                    waits[here] = ~together[here]
                    here &= together
                self._take_part(here, line)
                at[here] += 1
                if line.name == "bra":
                    at[self.mask] = self.kernel.labels[line.operands[0]]
                elif line.name == "ret":
                    at[self.mask] = len(code)
                else:
                    getattr(self, f"_{line.name}")(line.words, *line.operands)
        assert not waits.any(), "a part of a warp, or of a block, waits for the others for ever"

    def _take_part(self, here, line):
        """Let those take part in a line who have got here, if its guard lets them."""
        self.mask = here & (self.registers[line.guard] ^ line.negated) if line.guard else here
        self.is_by_all = self.mask.all()

    # Values ----------------------------------------------------------------------------------------------------------

    def _get(self, operand, dtype):
        dtype = np.dtype(dtype)
        if operand in self.special:
            return self.special[operand].astype(dtype)
        if operand[0] == "%":
            value = self.registers[operand]
            if dtype.itemsize < value.itemsize:
                assert dtype.kind != "f", f"{operand} is read as {dtype}"
                value = value.astype(_unsigned(dtype))
            return value.view(dtype)
        if operand[:2] in ("0f", "0d"):
            word = np.array([int(operand[2:], 16)], "u4" if operand[1] == "f" else "u8")
        else:
            word = np.array([int(operand.rstrip("U"), 0) & (1 << 8 * dtype.itemsize) - 1], _unsigned(dtype))
        return np.broadcast_to(word.view(dtype), self.lanes.shape)

    def _set(self, register, value):
        kind = np.dtype(REGISTERS[re.match(r"%[a-z]+", register).group()])
        value = np.ascontiguousarray(value)
        if value.itemsize < kind.itemsize:  # extended by its sign, or by zeros
            assert value.dtype.kind in "iu", f"{register} takes {value.dtype}"
            value = value.astype(np.dtype(f"{value.dtype.kind}{kind.itemsize}"))
        value = value.view(kind)
        if not self.is_by_all:
            value = np.where(self.mask, value, self.registers.get(register, kind.type(0)))
        self.registers[register] = value

    def _compute(self, function, words, target, *operands):
        """An operation on values of one type."""
        if words[-1] == "pred":
            self._set(target, function(*(self._get(x, np.bool_) for x in operands)))
            return
        dtype = _dtype(words[-1])
        if dtype.kind == "f" and function is not np.negative:
            assert words[:-1] == ["rn"], f"rounded by {words}"
        else:
            assert words[:-1] in ([], ["lo"]), words
        self._set(target, np.asarray(function(*(self._get(x, dtype) for x in operands))).astype(dtype))

    # Instructions ----------------------------------------------------------------------------------------------------

    def _add(self, *line):
        self._compute(np.add, *line)

    def _sub(self, *line):
        self._compute(np.subtract, *line)

    def _div(self, *line):
        self._compute(np.divide, *line)

    def _rcp(self, *line):
        self._compute(lambda x: x.dtype.type(1) / x, *line)

    def _sqrt(self, *line):
        self._compute(np.sqrt, *line)

    def _abs(self, words, target, x):
        def magnitude(x):  # PTX leaves open what sign NaN has: it may keep its own, of which GPUs' own is a minus
            return np.where(np.isnan(x), np.copysign(x, x.dtype.type(-1)), np.abs(x))

        self._set(target, magnitude(self._get(x, _dtype(*words))))

    def _neg(self, *line):
        self._compute(np.negative, *line)

    def _min(self, words, *operands):
        assert words[0][0] in "us"
        self._compute(np.minimum, words, *operands)

    def _max(self, words, *operands):
        assert words[0][0] in "us"
        self._compute(np.maximum, words, *operands)

    def _and(self, *line):
        self._compute(np.bitwise_and, *line)

    def _or(self, *line):
        self._compute(np.bitwise_or, *line)

    def _xor(self, *line):
        self._compute(np.bitwise_xor, *line)

    def _not(self, *line):
        self._compute(np.invert, *line)

    def _mul(self, words, target, x, y):
        if words[0] == "wide":
            self._set(target, self._product(words[1], x, y))
        else:
            self._compute(np.multiply, words, target, x, y)

    def _mad(self, words, target, x, y, z):
        if words[0] == "wide":
            product = self._product(words[1], x, y)
            self._set(target, product + self._get(z, product.dtype))
        else:
            assert words[0] == "lo"
            self._compute(lambda x, y, z: x * y + z, words, target, x, y, z)

    def _product(self, word, x, y):
        dtype = _dtype(word)
        wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
        return self._get(x, dtype).astype(wide) * self._get(y, dtype).astype(wide)

    def _shl(self, *line):
        self._shift(np.left_shift, *line)

    def _shr(self, *line):
        self._shift(np.right_shift, *line)

    def _shift(self, function, words, target, x, by):
        dtype = _dtype(words[0])
        distance, bits = self._get(by, np.uint32).astype(np.int64), 8 * dtype.itemsize
        shifted = function(self._get(x, dtype), np.minimum(distance, bits - 1).astype(dtype))
        self._set(target, np.where((distance >= bits) & (dtype.kind == "u"), 0, shifted).astype(dtype))

    def _clz(self, words, target, x):
        assert words == ["b64"]
        digits = [64 - int(value).bit_length() for value in self._get(x, np.uint64)]
        self._set(target, np.array(digits, np.uint32))

    def _bfe(self, words, target, x, first, many):
        dtype = _dtype(words[0])
        assert dtype.kind == "u"
        self._set(target, self._get(x, dtype) >> dtype.type(int(first)) & dtype.type((1 << int(many)) - 1))

    def _prmt(self, words, target, x, y, picks):
        assert words == ["b32"]
        both = np.stack([self._get(x, np.uint32), self._get(y, np.uint32)], 1).view(np.uint8)
        numbers = [int(picks.rstrip("U"), 0) >> 4 * i & 15 for i in range(4)]
        chosen = [both[:, n] if n < 8 else (both[:, n - 8] >> 7) * np.uint8(255) for n in numbers]  # or its sign
        self._set(target, np.stack(chosen, 1).view(np.uint32)[:, 0])

    def _selp(self, words, target, x, y, condition):
        dtype = _dtype(words[0])
        self._set(target, np.where(self._get(condition, np.bool_), self._get(x, dtype), self._get(y, dtype)))

    def _setp(self, words, target, x, y):
        comparison, word = words
        x, y = self._get(x, _dtype(word)), self._get(y, _dtype(word))
        unordered = np.isnan(x) | np.isnan(y) if word[0] == "f" else False
        if comparison in ("nan", "num"):
            result = unordered if comparison == "nan" else ~unordered
        else:
            known = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}
            known |= {"gt": np.greater, "ge": np.greater_equal}
            result = known[comparison[:2]](x, y)
            if word[0] == "f":
                result = result | unordered if comparison[2:] == "u" else result & ~unordered
        self._set(target, result)

    def _cvt(self, words, target, x):
        *rounding, into, word = words
        value, into = self._get(x, _dtype(word)), _dtype(into)
        if rounding == ["rzi"]:
            top = np.iinfo(into)
            value = np.clip(np.nan_to_num(np.trunc(value.astype(np.float64))), top.min, top.max)
        elif rounding == ["rmi"]:
            value = np.floor(value)
        else:
            exact = into.kind != "f" or value.dtype.kind == "f" and into.itemsize > value.itemsize
            assert rounding == ([] if exact else ["rn"]), words
        self._set(target, value.astype(into))

    def _mov(self, words, target, source):
        if words == ["pred"]:
            self._set(target, self._get(source, np.bool_))
            return
        dtype = _dtype(words[0])
        half = np.dtype(f"u{dtype.itemsize // 2}")
        if target[0] == "{":
            halves = np.ascontiguousarray(self._get(source, dtype)).view(half).reshape(-1, 2)
            for i, name in enumerate(re.findall(r"%\w+|tmp", target)):
                if name != "tmp":
                    self._set(name, halves[:, i])
        elif source[0] == "{":
            halves = np.stack([self._get(name, half) for name in re.findall(r"[%\w]+", source)], 1)
            self._set(target, halves.view(dtype)[:, 0])
        else:
            self._set(target, self._get(source, dtype))

    def _bar(self, words, *operands):
        assert (words, operands) in ((["sync"], ("0",)), (["warp", "sync"], ("-1",)))

    def _shfl(self, words, target, x, distance, clamp, members):
        assert words == ["sync", "bfly", "b32"] and (clamp, members) == ("31", "-1")
        self._set(target, self._get(x, np.uint32)[self.lanes ^ int(distance)])

    def _vote(self, words, target, x, members):
        assert words == ["sync", "any", "pred"] and members == "-1"
        votes = self._get(x, np.bool_).reshape(-1, WARP).any(1)
        self._set(target, np.repeat(votes, WARP))

    def _access(self, words):
        """The type of an access, and how many entries it has."""
        assert words[0] == "global", "an access outside of the global space"
        many = int(words[1][1:]) if words[1][0] == "v" else 1
        return _dtype(words[-1]), many

    def _addresses(self, place):
        register, _, offset = place[1:-1].partition("+")
        return self._get(register, np.int64)[self.mask] + int(offset or 0)

    def _ld(self, words, target, place):
        if words[0] == "param":
            number = int(re.search(r"_param_(\d+)\]", place).group(1))
            word = np.array([self.arguments[number]], np.int64).view(_dtype(words[-1]))[0]  # or the lower half of it
            self._set(target, np.full(self.lanes.size, word))
            return
        dtype, many = self._access(words)
        if self.mask.any():
            entries, first = self.memory.at(self._addresses(place), dtype, many)
            for i, register in enumerate(re.findall(r"%\w+", target)):
                value = np.zeros(self.lanes.size, dtype)
                value[self.mask] = entries[first + i]
                self._set(register, value)

    def _st(self, words, place, source):
        is_shared = words[0] in ("relaxed", "volatile")  # then others may write there too: here only the same
        dtype, many = self._access(words[words.index("global") :] if is_shared else words)
        if self.mask.any():
            entries, first = self.memory.at(self._addresses(place), dtype, many)
            names = re.findall(r"[%\w]+", source)
            assert len(names) == many
            is_same = is_shared and np.unique(self._get(source, dtype)[self.mask]).size == 1
            assert is_same or np.unique(first).size == first.size, "two threads write to one place"
            for i, name in enumerate(names):
                entries[first + i] = self._get(name, dtype)[self.mask]
