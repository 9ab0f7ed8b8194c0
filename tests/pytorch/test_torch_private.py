"""What PyTorch has under private names stands in one file, and nothing breaks where it is gone."""

import ast
import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.optim.optimizer as base
from tensors import EXACT, SETTINGS, arrays, assert_same, own, parameters, steps
from torch.autograd import profiler

from minima import torch as mt
from minima.torch import addresses, private

SOURCE = Path(mt.__file__).parent
FILES = sorted(SOURCE.glob("*.py"))
OWNERS = (torch, torch.Tensor, torch.nn.Parameter, base, profiler, torch.optim.SGD([torch.ones(1)]))


def bound(tree):
    """The private names that a file gives something."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return {name for name in found if name.startswith("_")}


OURS = {name for file in SOURCE.parent.rglob("*.py") for name in bound(ast.parse(file.read_text(encoding="utf-8")))}


def foreign(file):
    """The private names of PyTorch in a file."""
    said = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            said.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            said |= {part for alias in node.names for part in (*(node.module or "").split("."), alias.name)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            said |= {node.value} if any(hasattr(owner, node.value) for owner in OWNERS) else set()
            said |= {node.value} if node.value.startswith(("_foreach", "__dlpack")) else set()
    private_ones = {
        name for name in said if name.startswith("_") and not (name.startswith("__") and name.endswith("__"))
    }
    return (private_ones | {name for name in said if name.startswith("__dlpack")}) - OURS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_private_names_of_pytorch_stand_in_one_file(file):
    found = foreign(file)
    if file.name == "private.py":
        assert {"_foreach_", "_disable_dynamo", "__dlpack_c_exchange_api__", "_optimizer_step_pre_hooks"} <= found
    else:
        assert not found


class Renamed:
    """Something without its private names, which its public methods go on working with."""

    def __init__(self, owner):
        self.owner = owner

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.owner, name)


@pytest.fixture(params=[False, True], ids=["as it is", "renamed"])
def seen(request, monkeypatch):
    """How the functions see an optimizer."""
    if not request.param:
        return lambda optimizer: optimizer
    monkeypatch.setattr(private, "_base", Renamed(base))
    return Renamed


def test_hooks_of_a_step_are_found(seen):
    optimizer = own.SGD([torch.ones(1, requires_grad=True)])
    assert not private.is_watched(seen(optimizer))
    for register in (
        optimizer.register_step_pre_hook,
        optimizer.register_step_post_hook,
        base.register_optimizer_step_pre_hook,
        base.register_optimizer_step_post_hook,
    ):
        handle = register(lambda *_: None)
        assert private.is_watched(seen(optimizer))
        handle.remove()
        assert not private.is_watched(seen(optimizer))


def test_hooks_of_loading_are_found(seen):
    def before(*_):
        pass

    def after(*_):
        pass

    optimizer = own.SGD([torch.ones(1, requires_grad=True)])
    assert [list(hooks) for hooks in private.loading_hooks(seen(optimizer))] == [[], []]
    optimizer.register_load_state_dict_pre_hook(before)
    optimizer.register_load_state_dict_post_hook(after)
    found = private.loading_hooks(seen(optimizer))
    assert [list(hooks.values()) for hooks in found] == [[before], [after]]


def test_without_word_of_the_profiler_it_may_always_be_there(monkeypatch):
    w = torch.ones(1, requires_grad=True)
    w.grad = torch.ones(1)
    optimizer = own.SGD([w], lr=0.5)
    monkeypatch.setattr(private, "_profiler", SimpleNamespace())
    assert private.is_watched(optimizer)
    optimizer.step()
    assert w.item() == 0.5


MANY = sorted(name for name in vars(torch) if name.startswith("_foreach_"))


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("missing", [["_foreach_add"], ["_foreach_neg", "_foreach_copy_"], MANY], ids=len)
def test_operations_on_one_tensor_serve_where_there_is_none_for_many(monkeypatch, missing, cls, hypers):
    found = []
    for gone in ([], missing):
        for name in gone:
            monkeypatch.delattr(torch, name)
        params = parameters()
        optimizer = cls(params, lr=0.1, engine="torch", **hypers)
        steps(optimizer, params, 4)
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)


def test_a_function_is_kept_from_the_compiler_by_the_public_name_too(monkeypatch):
    monkeypatch.delattr(torch, "_disable_dynamo")
    assert private.compiled_never(lambda x: x + 1)(2) == 3


def test_python_asks_for_addresses_where_pytorch_has_no_table_of_functions(monkeypatch):
    assert private.dlpack_table()
    for owner in torch.Tensor.__mro__:
        if "__dlpack_c_exchange_api__" in vars(owner):
            monkeypatch.delattr(owner, "__dlpack_c_exchange_api__")
    assert private.dlpack_table() is None and addresses._code.__wrapped__() is None


def test_compiled_code_finds_the_storage_of_any_tensor():
    layout = private.storage_layout()

    def word(address, offset):
        return ctypes.c_int64.from_address(address + offset).value

    whole = torch.zeros(10)
    for tensor in (whole, whole[6:], torch.nn.Parameter(torch.zeros(3, 2)), torch.zeros(5, dtype=torch.int8)):
        storage = word(word(id(tensor), layout.tensor), layout.storage)
        assert word(storage, layout.data) == tensor.untyped_storage().data_ptr()
        assert word(storage, layout.size) == tensor.untyped_storage().nbytes()
    whole.untyped_storage().resize_(0)
    storage = word(word(id(whole), layout.tensor), layout.storage)
    assert word(storage, layout.data) == word(storage, layout.size) == 0


@pytest.mark.parametrize("fields", [range(0), range(0, 24, 8)], ids=str)
def test_python_asks_for_addresses_where_storages_are_laid_out_otherwise(monkeypatch, fields):
    monkeypatch.setattr(private, "_FIELDS", fields)
    assert private.storage_layout() is None and addresses._code.__wrapped__() is None
