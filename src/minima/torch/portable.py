"""State by the names of parameters, as all faces of minima have it: runs move between PyTorch, NumPy and JAX.

PyTorch's own state dicts have positions, and the names of PyTorch; those of `minima.optim` and `minima.jax` have the
names of parameters, and those of the rule.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from minima.errors import sentence
from minima.optim import schedules
from minima.optim.core.variants import MASTER, Variants
from minima.optim.engines.storage import BLOCKS
from minima.optim.language.declaration import CHOICES
from minima.optim.language.ranks import MODEL, TENSOR
from minima.optim.language.symbols import FORMS
from minima.optim.language.trace import EMA
from minima.optim.portable import NOTHING, Run, read
from minima.optim.state_dict import described
from minima.torch.checkpoint import FUNCTIONS, TRAIN_MODE, Loaded, bare, load
from minima.torch.dialect import DECAY, FLAG, Dialect, Entry
from minima.torch.holdings import Holdings
from minima.torch.host import TorchHost
from minima.torch.kernel import Slot
from minima.torch.memory import is_sharded, wide
from minima.torch.private import is_flattened
from minima.torch.state import CODES, SCALE, STEP
from minima.torch.state import Entry as Kept
from minima.torch.values import GroupValues

__all__ = ["dump", "prepare"]


def dump(who: str, held: Holdings, *, copies: bool) -> dict[str, Any]:
    """The state of an optimizer as `minima.optim.Optimizer.state_dict` gives it; maybe with the optimizer's own memory.

    Args:
        who: The public name that complains.
        held: What the optimizer holds.
        copies: Whether arrays are copies in any case.
    """
    host, stepper, names = held.host, held.stepper, _names(who, held.slots)
    for watched in stepper.groups:
        watched.look(stepper.clock.t)
    state_dtype = _state_dtype(held.options)
    state: dict[str, dict[str, NDArray[Any]]] = {}
    shared: dict[str, NDArray[Any]] = {}
    for slot, name in zip(held.slots, names, strict=True):
        _require_whole(who, held.dialect, slot)
        own = state[name] = {}
        kept: Any = host.state.get(slot.tensor)
        if not isinstance(kept, dict) or STEP not in kept:
            continue
        keeping = host.keeping(host.program(slot, slot.values.settings.variant), slot.tensor)
        entries = {entry.name: entry for entry in (*host.known(slot.tensor).values(), *keeping.listed)}
        for entry in entries.values():
            value = cast(dict[str, Any], kept).get(entry.name)
            if value is None:
                continue
            tensor = keeping.fitting(str(slot), slot.tensor, entry, value, who)
            array = _array(who, slot, entry, tensor, state_dtype)
            found = shared if entry.rank == MODEL else own
            found[_in_the_rule(host, entry)] = array.copy() if copies else array
    values = [_hypers(who, each) for each in held.groups]
    defaults = values[0] if values else {}
    first, groups = 0, list[dict[str, Any]]()
    for each, own in zip(held.groups, values, strict=True):
        members = names[first : first + len(each.group["params"])]
        groups.append({"params": members} | {name: x for name, x in own.items() if x != defaults[name]})
        first += len(members)
    return {
        "algorithm": host.variants.declaration.who,
        "state_dtype": state_dtype,
        "rounding": held.options["rounding"],
        "seed": held.options["seed"],
        "t": stepper.clock.t,
        "skipped": stepper.skipped,
        "defaults": defaults,
        "groups": groups,
        "steps": dict(zip(names, stepper.clock.counts.tolist(), strict=True)),
        "new": [name for slot, name in zip(held.slots, names, strict=True) if slot.is_new],
        "state": state,
        **({"shared": shared} if shared else {}),
        **({"train_mode": stepper.train_mode} if host.variants.rule.weights else {}),
    }


def prepare(who: str, held: Holdings, given: Any) -> tuple[Run, Loaded]:
    """What a state dict of any face says of this optimizer, checked; nothing is changed."""
    names = _names(who, held.slots)
    algorithm = held.host.variants.declaration.who
    run = read(who, given, algorithm, _state_dtype(held.options), names)
    said = {name: value for name, value in run.options.items() if value is not None}
    host = TorchHost(held.host.variants, held.dialect, {**held.options, **said}, held.slots)
    entries: list[dict[str, Any]] = []
    for each in held.groups:
        first = sum(len(entry["params"]) for entry in entries)
        places = range(first, first + len(each.group["params"]))
        own = _group(who, run, host.variants, each, [names[place] for place in places])
        entries.append({**own, "params": list(places), TRAIN_MODE: run.train_mode})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for slot, name in zip(held.slots, names, strict=True):
        _require_whole(who, held.dialect, slot)
        if run.has_begun(name):
            state[slot.place] = _kept(who, run, name, host, held.dialect, slot)
    loaded = load(who, held.groups, host, {"state": state, "param_groups": entries})
    for slot in held.slots:
        _require_digits(who, slot, state.get(slot.place, {}), loaded.state.get(slot.tensor, {}))
    for group in loaded.groups:
        for name in held.dialect.open:  # which stand in a group only where they are needed
            if group.get(name) == CHOICES[name].default:
                del group[name]
    return run, loaded


# Names -----------------------------------------------------------------------------------------------------------


def _names(who: str, slots: Sequence[Slot]) -> list[str]:
    """What each parameter is called, without what wrappers of its model put in between."""
    names = [bare(slot.key) for slot in slots]
    if twice := next((name for name in names if names.count(name) > 1), None) if len({*names}) < len(names) else None:
        rule = f"two parameters are called {twice!r}"
        raise ValueError(sentence(who, rule, hint="state is kept by the names of parameters: pass other names"))
    return names


def _in_the_rule(host: TorchHost, entry: Kept) -> str:
    """The name of an entry of the state as the other faces have it."""
    bare_name = list(host.variants.rule.state)[entry.number] if entry.number >= 0 else entry.name
    return f"{bare_name}.scale" if entry.kind == "scale" else bare_name


def _state_dtype(options: Mapping[str, Any]) -> str | None:
    """How state is kept, as the other faces have it: as it is computed, or what was asked for."""
    given = options["state_dtype"]
    return None if given == "float32" else given


# Hyperparameters -------------------------------------------------------------------------------------------------


def _hypers(who: str, values: GroupValues) -> dict[str, Any]:
    """The hyperparameters of a group as the rule has them, functions of the step as plain data."""
    dialect, group, active = values.dialect, values.group, values.active
    found = dict(dialect.base)
    for name in dialect.keys:
        if name == DECAY or dialect.entries.get(name) is not None and dialect.entries[name].means == (DECAY,):
            continue
        given = active.get(name, group.get(name))
        if name in dialect.open:
            given = CHOICES[name].default if given is None else given
            found[name] = described(given) if callable(given) else dialect.check(who, name, given)
            continue
        found |= _said(who, values, dialect.entries[name], given)
    found[DECAY] = dialect.way(group)
    return {name: _checked(who, dialect, name, x) for name, x in found.items()}


def _checked(who: str, dialect: Dialect, name: str, value: Any) -> Any:
    """A hyperparameter as the declaration has it, numbers as floats; a function of the step as it is described."""
    if isinstance(value, Mapping):
        return cast(Any, value)
    return dialect.declaration.entries[name].check(who, value.item() if isinstance(value, torch.Tensor) else value)


def _said(who: str, values: GroupValues, entry: Entry, given: Any) -> dict[str, Any]:
    """What an entry of a group gives, where functions of the step are plain data."""
    parts = list(cast(Sequence[Any], given)) if len(entry.means) > 1 else [given]
    if any(map(callable, parts)):
        return {
            meant: described(part) if callable(part) else part for meant, part in zip(entry.means, parts, strict=True)
        }
    checked = values.dialect.check(who, entry.name, given)
    said = values.dialect.said(entry.name, checked)
    return {meant: _derived(who, values, entry) if x is None and len(parts) > 1 else x for meant, x in said.items()}


def _derived(who: str, values: GroupValues, entry: Entry) -> float | None:
    """What None in a tuple stands for; a ValueError where that differs between the parameters of a group."""
    assert entry.derived is not None
    found = {entry.derived(param) for param in values.group["params"]}
    if len(found) > 1:
        rule = f"{entry.name} of a group with parameters of several dtypes is none that other faces can have"
        raise ValueError(sentence(who, rule, hint="give it numbers"))
    return next(iter(found), None)


def _group(who: str, run: Run, variants: Variants, values: GroupValues, names: Sequence[str]) -> dict[str, Any]:
    """A group as a state dict of PyTorch has it, with the hyperparameters that its parameters had there."""
    dialect, group = values.dialect, values.group
    wanted = {
        name: _checked(who, dialect, name, run.agreed(name, names, dialect.base[name]))
        for name in dialect.declaration.entries
    }
    wanted |= {
        name: entry.absent
        for entry in dialect.table
        for name in entry.means
        if entry.absent is not None and wanted[name] is None
    }
    wanted |= _settled(who, values, variants, wanted)
    own, functions = dict[str, Any](), dict[str, Any]()
    for name, entry in dialect.entries.items():
        if not entry.means or entry.means == (DECAY,):
            own[name] = group[name]
            continue
        parts = [wanted[meant] for meant in entry.means]
        if any(isinstance(part, Mapping) for part in parts):
            functions[name] = parts if len(parts) > 1 else parts[0]
            present = group[name] if len(parts) > 1 else [group[name]]
            shown = [_today(part, run.t, x) for part, x in zip(parts, present, strict=True)]
        else:
            shown = parts
        own[name] = _written(who, values, entry, shown)
    for name in dialect.open:
        if name != DECAY:
            if isinstance(wanted[name], Mapping):
                functions[name] = wanted[name]
            own[name] = _today(wanted[name], run.t, group.get(name))
    own[DECAY] = wanted[DECAY]
    if FLAG in own:
        own[FLAG] = None  # the other entry says it
    return own | ({FUNCTIONS: {"t": run.t} | functions} if functions else {})


def _today(value: Any, t: int, present: Any) -> Any:
    """What a group shows of a function of the step: of a schedule its number, of others what it shows already."""
    if not isinstance(value, Mapping):
        return value
    known = dict(cast(Mapping[str, Any], value))
    return present if "function" in known else float(schedules.from_dict(known)(t))


def _written(who: str, values: GroupValues, entry: Entry, parts: Sequence[Any]) -> Any:
    """The value of an entry that says these hyperparameters, the one that is there where it says them already."""
    present, dialect = values.group[entry.name], values.dialect
    if entry.name not in values.active and list(_said(who, values, entry, present).values()) == list(parts):
        return present
    if len(parts) > 1:
        return tuple(parts)
    (value,) = parts
    words = [word for word, meant in entry.words.items() if meant is value or meant == value]
    if words:
        return words[0]
    if isinstance(present, torch.Tensor) and isinstance(value, float):
        return torch.full_like(present, value)
    return dialect.check(who, entry.name, value)


def _settled(who: str, values: GroupValues, variants: Variants, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run can be in one way only here: by what makes it PyTorch's algorithm, or for lack of words.

    A ValueError where it was in another, and steps depend on it.
    """
    dialect, unsaid = values.dialect, dict[str, Any]()
    for entry in dialect.table:
        if entry.refused or entry.means and not _can_say(entry, wanted):
            said = _said(who, values, entry, values.group[entry.name])
            unsaid |= {name: _checked(who, dialect, name, value) for name, value in said.items()}
    free = {DECAY, *dialect.givers, *CHOICES, *(name for name, other in dialect.idle.items() if wanted[other] == 0)}
    settled = unsaid | {name: dialect.base[name] for name in wanted if name not in free}
    if not (apart := [name for name, value in settled.items() if wanted[name] != value]):
        return {}
    plain = [
        {name: 1.0 if isinstance(x, Mapping) else x for name, x in each.items()}
        for each in (wanted, {**wanted, **settled})
    ]
    there, here = (dialect.declaration.variant(each.__getitem__) for each in plain)
    for form in FORMS:
        program = variants.program(there, form=form)
        read = [name for name in apart if name in program.hypers]
        if read or program != variants.program(here, form=form):
            name = (read or apart)[0]
            rule = f"{name} must be {settled[name]!r}, as {dialect.name} here has it"
            hint = f"load it into adapt(minima.optim.{dialect.rule.__name__}); {NOTHING}"
            raise ValueError(sentence(who, rule, got=wanted[name], hint=hint))
    return unsaid


def _can_say(entry: Entry, wanted: Mapping[str, Any]) -> bool:
    """Whether an entry of a group has a value for what a run had; the rule may know None where the entry does not."""
    (name, *others) = entry.means
    return bool(others) or wanted[name] is not None or entry.default is None or None in entry.words.values()


# State -----------------------------------------------------------------------------------------------------------


def _require_whole(who: str, dialect: Dialect, slot: Slot) -> None:
    """A ValueError unless this process holds the whole of a parameter, which is one matrix, as everywhere else."""
    if is_sharded(slot.tensor) or is_flattened(slot.tensor):
        hint = "move the whole of it, or save it by torch.distributed.checkpoint"
        raise ValueError(sentence(who, f"{slot} must not be sharded", hint=hint))
    if dialect.is_batched and slot.tensor.dim() > 2:
        rule = f"{slot} has {slot.tensor.dim()} axes, and is many matrices to {dialect.name}, where others see one"
        raise ValueError(sentence(who, rule, hint=f"take adapt(minima.optim.{dialect.name})"))


def _require_rows(who: str, slot: Slot) -> None:
    """A ValueError unless a parameter lies row after row in memory, as the codes of its state then do."""
    if not slot.tensor.is_contiguous():
        rule = f"the state of {slot} is in 8 bits, in the order of memory, which must be that of its indices"
        raise ValueError(sentence(who, rule, hint="make it contiguous, or keep state in 16 or 32 bits"))


def _array(who: str, slot: Slot, entry: Kept, tensor: torch.Tensor, state_dtype: str | None) -> NDArray[Any]:
    """A tensor of the state as the other faces keep it, in the order of its indices."""
    near = tensor.detach().cpu().resolve_conj()
    if entry.rank <= TENSOR:
        return near.to(torch.float64).numpy()
    if entry.kind in BLOCKS:
        _require_rows(who, slot)
        return near.contiguous().numpy().reshape(-1)
    if entry.kind == "bfloat16":
        if state_dtype is None:  # as it is computed: nothing is lost
            return near.to(wide(slot.tensor.dtype)).contiguous().numpy()
        return near.contiguous().view(torch.int16).numpy().view(np.uint16).reshape(-1)
    return near.contiguous().numpy()


def _kept(who: str, run: Run, name: str, host: TorchHost, dialect: Dialect, slot: Slot) -> dict[str, torch.Tensor]:
    """The state of a parameter as a state dict of PyTorch has it."""
    param, rule = slot.tensor, host.variants.rule.state
    found: dict[str, Any] = {STEP: torch.tensor(float(run.steps[name]), dtype=torch.float64, device="cpu")}
    for called, value in {**run.state[name], **run.shared}.items():
        first = called.removesuffix(".scale")
        if first not in (*rule, MASTER, EMA):
            raise ValueError(sentence(who, f"there is no state {called!r}, which {name!r} had", hint=NOTHING))
        array, own = np.array(value, order="C"), dialect.state.get(first, first)
        is_codes, is_bits = array.dtype.name in BLOCKS, array.dtype == np.uint16
        if is_codes:
            _require_rows(who, slot)
        if (is_codes or is_bits) and array.size != param.numel():
            rule = f"{called!r} of {name!r} must have {param.numel()} entries"
            raise ValueError(sentence(who, rule, got=array.size, hint=NOTHING))
        array = array.reshape(param.shape) if is_codes or is_bits else array
        tensor: torch.Tensor = cast(Any, torch).from_numpy(array.view(np.int16) if is_bits else array)
        key = f"{own}{SCALE}" if first != called else f"{own}{CODES}" if is_codes else own
        found[key] = tensor.view(torch.bfloat16) if is_bits else tensor
    return found


def _require_digits(who: str, slot: Slot, given: Mapping[str, torch.Tensor], kept: Mapping[str, Any]) -> None:
    """A ValueError where state is kept in bfloat16 by an optimizer that was not asked for it, and has more digits."""
    for name, value in given.items():
        tensor: Any = kept.get(name)
        if name == STEP or getattr(tensor, "dtype", None) != torch.bfloat16 or value.dtype == torch.bfloat16:
            continue
        again = tensor.cpu().to(value.dtype)
        if not bool(((again == value) | value.isnan()).all()):
            rule = f"the state {name!r} of {slot} is kept in bfloat16 here, and has more digits there"
            raise ValueError(sentence(who, rule, hint=f"make the optimizer with state_dtype='float32'; {NOTHING}"))
