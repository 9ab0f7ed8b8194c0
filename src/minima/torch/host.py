"""PyTorch's tensors, as the core needs them: their gradients, their memory, and the state that is kept of them."""

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch
from torch.autograd.graph import increment_version

from minima.errors import sentence
from minima.optim.core.batch import Batch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Sources, facts_of
from minima.optim.core.variants import MASTER, Variants
from minima.optim.engines.engine import Kernel
from minima.optim.language.program import Program
from minima.optim.language.rule import WEIGHTS, Weights
from minima.optim.language.symbols import form_of
from minima.optim.language.trace import EMA, Variant
from minima.torch.capture import is_capturing
from minima.torch.choice import Choice, Wish, choose
from minima.torch.counting import Misplaced
from minima.torch.counts import Counts
from minima.torch.device_counts import Mode
from minima.torch.dialect import Dialect
from minima.torch.eager import Eager
from minima.torch.kernel import Slot, Work
from minima.torch.memory import dense, is_sharded, is_steppable, local, same_strides, sharded, wide
from minima.torch.private import is_flattened
from minima.torch.reference import Reference
from minima.torch.sharding import layout, placed, write
from minima.torch.shared import Shared
from minima.torch.soundness import check_memory, is_freed
from minima.torch.state import STEP, Entry, Keeping

if TYPE_CHECKING:
    from minima.torch.model import DeviceNumbers

__all__ = ["ENGINES", "TorchHost"]


def _fused(work: Work) -> Kernel:
    from minima.torch.fused import Fused  # loads LLVM

    return Fused(work)


ENGINES: dict[str, Callable[[Work], Kernel]] = {"fused": _fused, "reference": Reference, "torch": Eager}
"""Compiled code for parameters on the CPU and NVIDIA GPUs; NumPy on the CPU; PyTorch's own operations on any device."""
_HALF = (torch.float16, torch.bfloat16, torch.complex32)


class TorchHost:
    """The host of PyTorch's tensors."""

    def __init__(self, variants: Variants, dialect: Dialect, options: Mapping[str, Any], slots: Sequence[Slot]) -> None:
        """Step by a rule, as a dialect calls it; ``options`` and ``slots`` are those of the optimizer at any time."""
        self.who = dialect.name
        self.action = "step"
        self.variants = variants
        self._dialect = dialect
        self.state: Any = {}
        """The state of the optimizer."""
        self.counts = Counts(self.who, lambda place: str(slots[place]))
        self._options = options
        self._keepings: dict[Any, Keeping] = {}
        self._known: dict[Any, dict[str, Entry]] = {}
        self._slots = slots
        self._shared = Shared(slots)
        self.mode: Mode | None = None
        """How a GPU counts steps, or is to, if one does."""

    # Tensors -------------------------------------------------------------------------------------------------------

    def planning(self) -> AbstractContextManager[Any]:
        if self.mode is not None and self.mode.is_capturable and is_capturing():
            self.refuse_plan()
        return _written_to_later() if torch.is_inference_mode_enabled() else torch.no_grad()

    def refuse_plan(self) -> NoReturn:
        """Say that a CUDA graph cannot record what a step that is new takes."""
        rule = "a step that a CUDA graph records must be like one that was taken before"
        hint = "take some outside of the graph first, on the same parameters; nothing was changed"
        raise RuntimeError(sentence(f"{self.who}.{self.action}", rule, hint=hint))

    def are_idle(self, tensors: Sequence[torch.Tensor]) -> bool:
        return all(tensor.grad is None for tensor in tensors)

    def checked(self, member: Slot) -> torch.Tensor | None:
        param, grad = member.tensor, member.tensor.grad
        if grad is None:
            return None
        plain = grad.layout == torch.strided and grad.shape == param.shape and grad.dtype == param.dtype
        if (
            plain
            and grad.device == param.device
            and not (is_sharded(grad) or is_sharded(param) or param.is_complex() or grad.is_neg() or param.is_neg())
            and grad.is_contiguous()
            and param.is_contiguous()
            and (grad.is_meta or grad.numel() == 0 or grad.data_ptr() and param.data_ptr())
        ):
            return grad.detach()
        return _fitting(f"{self.who}.{self.action}", str(member), param, grad)

    def require_steppable(self, which: str, param: torch.Tensor) -> None:
        """A TypeError unless a step can move the elements of a parameter."""
        if not is_steppable(param):
            rule, hint = f"{which} must have 16 bits at least", "keep a wider copy, and step that"
            raise TypeError(sentence(self.who, rule, got=str(param.dtype), hint=hint))

    def average(self, who: str, member: Slot) -> torch.Tensor | None:
        param, kept = member.tensor, self.state.get(member.tensor)
        if not isinstance(kept, dict) or EMA not in kept:
            return None
        program = self.program(member, member.values.settings.variant)
        keeping, known = self.keeping(program, param), cast(dict[str, Any], kept)
        (entry,) = (entry for entry in keeping.entries if entry.name == EMA)
        average = keeping.fitting(str(member), param, entry, known[EMA], who)
        check_memory(who, str(member), param)
        check_memory(who, f"the state {EMA!r} of {member}", average)
        return average

    @torch.no_grad()
    def weights(self, who: str, member: Slot, weights: Weights) -> torch.Tensor | None:
        param, kept = member.tensor, self.state.get(member.tensor)
        if member.is_new or not isinstance(kept, dict) or STEP not in kept:
            return None
        settings, known = member.values.settings, cast(dict[str, Any], kept)
        numbers = [list(self.variants.rule.state).index(name) for name in weights.state]
        keeping = self.keeping(self.program(member, settings.variant), param)
        check_memory(who, str(member), param)
        asked = [entry for entry in keeping.states if entry.number in numbers or entry.name == MASTER]
        tensors = {
            entry.name: keeping.fitting(str(member), param, entry, known.get(entry.name), who)
            for entry in keeping.entries
            if any(entry.number == each.number for each in asked)
        }
        fitted = {entry.number: keeping.read(param, tensors, entry) for entry in asked}  # by which state of the rule
        own = param.detach().to(wide(param.dtype))
        if (master := fitted.get(-1)) is not None:  # what the parameter was rounded from is what is trained
            if weights is self.variants.rule.weights.get(WEIGHTS[True]):
                return master
            own = master.copy_(torch.where(master.to(param.dtype) == param.detach(), master, own))
        hypers = dict(settings.variant) | dict(settings.numbers_of(param))
        given = {name: hypers[name] for name in weights.hypers}
        return weights.compute(own, *(fitted[number] for number in numbers), **given)

    def copied(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().clone()

    def write(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        if is_flattened(tensor):
            rule = "FullyShardedDataParallel continues with the weights that it has gathered, and cannot use averages"
            hint = "shard the model by fully_shard instead; nothing was changed"
            raise ValueError(sentence(f"{self.who}.averaged", rule, hint=hint))
        write(tensor, values)

    def written(self, tensors: Sequence[torch.Tensor]) -> None:
        increment_version(tensors)

    def unfit(self, members: Sequence[Slot]) -> NoReturn:
        who = f"{self.who}.{self.action}"
        for member in members:
            kept = {name: x for name, x in (member.kept or {}).items() if isinstance(x, torch.Tensor)}
            check_memory(who, str(member), member.tensor)
            for name, tensor in kept.items():
                check_memory(who, f"the state {name!r} of {member}", tensor)
        rule = "a parameter or its state changed while the step was prepared"
        raise RuntimeError(sentence(who, rule, hint="nothing was changed"))

    # Programs and kernels --------------------------------------------------------------------------------------------

    def program(self, member: Slot, variant: Variant, t: int | None = None) -> Program:
        param = member.tensor
        facts = facts_of(member.values.settings, param, self.seen(param))
        facts |= {} if t is None else {"t": t, "first": member.is_new}
        return self.variants.program(variant, self.rounding(param) == "master", self.form(param), facts)

    def takes_turns(self, member: Slot, variant: Variant) -> bool:
        return self.variants.asks(variant, self.form(member.tensor))

    def form(self, param: torch.Tensor) -> str:
        """What a rule may know of the shape of a parameter."""
        return form_of(self.seen(param))

    def seen(self, param: torch.Tensor) -> torch.Size:
        """The shape that a rule sees of a parameter."""
        return param.shape[-2:] if self._dialect.is_batched else param.shape

    def settle(self, member: Slot, program: Program) -> bool:
        self.require_steppable(str(member), member.tensor)  # it may have been frozen when it was listed
        param, grad = member.tensor, member.tensor.grad
        if grad is not None and (is_freed(param) or is_freed(grad)):
            _fitting(f"{self.who}.{self.action}", str(member), param, grad)  # says so
        entry = self.state.get(param, {})
        if not isinstance(entry, dict):
            raise TypeError(sentence(self.who, f"the state of {member} must be a dict", got=entry))
        kept = cast(dict[str, Any], entry)
        replaces = (EMA in kept) is not (EMA in program.state)
        found, keeping = dict(kept), self.keeping(program, param)
        if EMA not in program.state:  # it would be of the past when it is asked for again
            found.pop(EMA, None)
        new = keeping.settle(str(member), param, found, member.values.settings)
        shared = self._shared.settled(member, keeping, found, self.state)
        # From here on nothing takes memory: all of it is there, or none.
        for name in kept.keys() - found.keys():
            del kept[name]
        kept.update(found)
        self.state.setdefault(param, kept)
        self._shared.take(keeping, shared)
        member.is_new = member.is_new or new
        if new and self.counts.device is not None:
            self.counts.device.renew(member.place)
        shown = self.counts.tensor(member.place)
        if STEP not in kept and member.kept is not None:  # someone has emptied it
            self.counts.set([member.place], 0)
        if kept.get(STEP) is not shown:
            kept[STEP] = self.counts.replaced(member.place, kept[STEP]) if STEP in kept else shown
        member.kept = kept
        return replaces

    def kind(self, member: Slot, program: Program) -> Hashable:
        param = member.tensor
        engine, shards = self.choice(member, program).engine, layout(param)
        # Of shards whose rows are asked for, the whole is put together: of one parameter after another.
        lone = member.place if shards is not None and program.by_rows else None
        return engine, self.rounding(param), param.dtype, param.device, shards, lone

    def kernel(self, program: Program, members: Sequence[Slot]) -> Kernel:
        params = [member.tensor for member in members]
        rounding = self.rounding(params[0]).replace("master", "nearest")
        kept = [cast(dict[str, Any], member.kept) for member in members]
        keeping, counts = self.keeping(program, params[0]), self.counts.device
        places = [member.place for member in members]
        work = Work(program, keeping, rounding, params, kept, self.sharded(), counts, places)
        engine = self.choice(members[0], program).engine
        if counts is not None and (engine != "fused" or not counts.counts_at(places, params[0].device)):
            raise Misplaced
        return ENGINES[engine](work)

    def sharded(self) -> torch.Tensor | None:
        """One of the parameters of which this process holds but a shard, if there is one."""
        return next(iter(sharded(slot.tensor for slot in self._slots)), None)

    # What all parameters share ---------------------------------------------------------------------------------------

    def numbers(self, clock: Clock, batches: Sequence[Batch], sources: Sources) -> "DeviceNumbers | None":
        kernels = [batch.kernel for batch in batches]
        if any(isinstance(kernel, Eager) or not kernel.on_device for kernel in kernels):
            return None
        from minima.torch.model import DeviceNumbers  # loads LLVM

        return DeviceNumbers(self, clock, batches, sources) if DeviceNumbers.fits(batches) else None

    def shared(self) -> dict[str, float]:
        tensors = self._shared.tensors(f"{self.who}.{self.action}", self.state)
        return {name: float(number) for name, number in tensors.items()}

    def shared_on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The state that all parameters share, on a GPU, whose kernels read it and write to it from now on."""
        tensors = self._shared.tensors(f"{self.who}.{self.action}", self.state, compiled=True)
        if not self._shared.are_on(device):
            if is_capturing():
                self.refuse_plan()
            self._shared.move(device, self.state)
        return tensors

    def share(self, values: Mapping[str, float]) -> None:
        self._shared.fill(values)

    def keeping(self, program: Program, param: torch.Tensor) -> Keeping:
        """What a program keeps of a parameter."""
        key = program, self.state_dtype(param), self.form(param)
        if key not in self._keepings:
            variants = self.variants
            first, names, bounded = variants.rule.state, self._dialect.state, variants.bounded(program)
            programs = variants.all_programs(forms=key[2:])
            dispensable = {x for other in programs for x in first.keys() - {*other.state}}
            self._keepings[key] = Keeping(
                self.who,
                program,
                first,
                names,
                key[1],
                bounded,
                dispensable,
                variants.rule.exact,
                is_batched=self._dialect.is_batched,
            )
        return self._keepings[key]

    def known(self, param: torch.Tensor) -> dict[str, Entry]:
        """What any variant keeps of a parameter, by name: options may have changed, or change again."""
        key = self.state_dtype(param), wide(param.dtype) != param.dtype, self.form(param)
        if key not in self._known:
            programs = self.variants.all_programs(master=key[1], forms=key[2:])
            self._known[key] = {x.name: x for program in programs for x in self.keeping(program, param).listed}
        return self._known[key]

    def begin(self, members: Sequence[Slot]) -> None:
        """Make the state of parameters, which are new here, before they take a step: of all of them, or of none."""
        known = {id(member.tensor) for member in members if member.tensor in self.state}
        try:
            with self.planning():
                for member in filter(lambda member: is_steppable(member.tensor), members):
                    self.settle(member, self.program(member, member.values.settings.variant))
        except BaseException:
            for member in members:
                if id(member.tensor) not in known:
                    self.state.pop(member.tensor, None)
            raise

    def state_dtype(self, param: torch.Tensor) -> str | None:
        """How the state of a parameter is kept; None is as it is computed."""
        given = self._options["state_dtype"]
        if given is None and param.dtype == torch.bfloat16:
            return "bfloat16"
        return None if given == "float32" else given

    def rounding(self, param: torch.Tensor) -> str:
        """How results are written to a parameter."""
        if param.dtype not in _HALF:
            return "nearest"
        return self._options["rounding"] or ("stochastic" if param.dtype == torch.bfloat16 else "nearest")

    def choice(self, member: Slot, program: Program | None = None) -> Choice:
        """The engine that steps a parameter by a program, by default the one that its group asks for; and why."""
        settings = member.values.settings
        program = program or self.program(member, settings.variant)
        options = self._options
        is_batched = self._dialect.is_batched and program.by_rows and member.tensor.dim() > 2
        waits = settings.has_tensors and self.mode is None  # a GPU that counts reads tensors as well
        wish = Wish(options["engine"], options["state_dtype"], program, waits, is_batched)
        if program.totalled and options.get("is_partial"):
            rule = (
                "a sum over all parameters needs all of them, but ZeroRedundancyOptimizer gives each process only some"
            )
            raise ValueError(sentence(self.who, rule, hint="shard the model by fully_shard instead"))
        if not program.is_plain and is_flattened(member.tensor):
            rule = f"a rule that needs the whole of {member} fails under FullyShardedDataParallel, which flattens it"
            raise ValueError(sentence(self.who, rule, hint="shard the model by fully_shard instead"))
        wrapper = "FullyShardedDataParallel" if is_flattened(member.tensor) else "ZeroRedundancyOptimizer"
        if options.get("on_nonfinite") == "skip" and (is_flattened(member.tensor) or options.get("is_partial")):
            rule = f"on_nonfinite 'skip' needs all gradients, but {wrapper} gives each process only some"
            raise ValueError(sentence(self.who, rule, hint="shard the model by fully_shard instead"))
        return choose(self.who, str(member), member.tensor, wish)


@contextmanager
def _written_to_later() -> Generator[None]:
    """Within inference mode: make state that others may write to outside of it."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _fitting(who: str, which: str, param: torch.Tensor, grad: Any) -> torch.Tensor:
    """A gradient as engines take it: in the dtype and with the strides of its parameter."""
    if grad.layout != torch.strided:
        hint = "make the layer without sparse=True, or give its parameters to torch.optim.SparseAdam"
        raise TypeError(sentence(who, f"gradient of {which} must not be sparse", got=str(grad.layout), hint=hint))
    if grad.shape != param.shape:
        rule = f"gradient of {which} has shape {tuple(grad.shape)}, the parameter has {tuple(param.shape)}"
        raise ValueError(sentence(who, rule, hint="nothing was changed"))
    check_memory(who, which, param)
    if is_freed(grad):
        rule = f"gradient of {which} must have memory"
        raise ValueError(sentence(who, rule, hint="its storage was freed; nothing was changed"))
    if grad.device != param.device:
        rule = f"gradient of {which} is on {grad.device}, the parameter on {param.device}"
        raise ValueError(sentence(who, rule, hint="nothing was changed"))
    if grad.is_complex() != param.is_complex() or not (grad.is_floating_point() or grad.is_complex()):
        raise TypeError(sentence(who, f"gradient of {which} must be {param.dtype}", got=str(grad.dtype)))
    if is_sharded(grad) != is_sharded(param):
        rule = f"gradient of {which} must be sharded as the parameter is"
        raise TypeError(sentence(who, rule, got=type(grad).__name__, hint="nothing was changed"))
    grad = placed(grad, param).detach()
    plain = not (grad.is_neg() or grad.is_conj()) and grad.dtype == param.dtype
    if plain and same_strides(local(grad), dense(local(param))) and grad.data_ptr():
        return grad
    return torch.empty_like(param.detach()).copy_(grad)
