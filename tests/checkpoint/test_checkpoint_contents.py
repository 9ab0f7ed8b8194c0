"""What goes into a checkpoint comes out of it, to the bit, and other libraries can read it."""

import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import Holder, network, optimizer_state, same

import minima as mi
from minima.random import generator, get_state

VALUES = {
    "nothing": None,
    "truths": [True, False],
    "integers": [0, -1, 2**63, -(2**200), 10**400],
    "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
    "strings": ["", "ä ☃ 😀", 'quote " and \\ and \n', "\ud800", "$array"],
    "nested": {"a": [{"b": ({}, [], ())}], "": {"": None}},
    "tuples": (1, (2.5, "x"), [3]),
    "keys": {1: "a", "1": "b", None: 0, (2, 3): [4], 2.5: 1, True is None: 0},
    "dollars": {"$array": "no array", "$": {"$tuple": [1]}},
    "arrays in places": {"a/b": np.zeros(2), "a": {"b": np.ones(2)}, "list": [np.arange(3), (np.arange(4),)]},
    "state": np.ones(1),
    "__metadata__": np.arange(2.0),
    "tensors": [mi.Tensor([1.5, 2.0]), mi.Tensor([[1, 2]]), mi.Tensor(True)],
}


@pytest.mark.parametrize("name", VALUES)
def test_a_plain_value_comes_back_equal_and_of_the_same_kind(name, tmp_path):
    mi.save(tmp_path / "x", **{name: VALUES[name]})
    assert same(mi.load(tmp_path / "x")[name], VALUES[name])


def test_all_of_them_fit_into_one_file(tmp_path):
    mi.save(tmp_path / "x", **VALUES)
    assert same(mi.load(tmp_path / "x"), VALUES)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(max_size=3) | st.integers() | st.sampled_from(["$", "$array", "state"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(value=PLAIN)
def test_whatever_is_made_of_plain_values_comes_back(value, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "x"
    mi.save(path, value=value)
    assert same(mi.load(path)["value"], value)


DTYPES = ["bool", *(f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64))]
DTYPES += ["float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (7,), (2, 3, 5)])
def test_an_array_comes_back_to_the_bit_and_in_memory_of_its_own(dtype, shape, tmp_path):
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, size, np.uint8)
    array = raw.view(dtype).reshape(shape)
    mi.save(tmp_path / "x", a=array, other=np.arange(3, dtype="int8"))
    found = mi.load(tmp_path / "x")["a"]
    assert same(found, array) and found.flags.writeable and found.flags.aligned and found.flags.owndata is not None


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12)[::-2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(2), (3, 2)),
        np.arange(5, dtype=">f8"),
        np.frombuffer(b"0123456789", "S1")[::2].view("uint8"),
        np.array([[1.0]])[0, 0:1],
    ],
)
def test_arrays_that_lie_in_memory_in_another_way_keep_their_values(array, tmp_path):
    mi.save(tmp_path / "x", a=array)
    found = mi.load(tmp_path / "x")["a"]
    assert found.shape == array.shape and found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


def test_numbers_of_numpy_become_numbers(tmp_path):
    mi.save(tmp_path / "x", a=np.float32(0.1), b=np.int8(-3), c=np.bool_(True))
    assert same(mi.load(tmp_path / "x"), {"a": float(np.float32(0.1)), "b": -3, "c": True})


# Objects -------------------------------------------------------------------------------------------------------------


def test_a_parameter_called_state_has_its_name_in_the_file(tmp_path):
    one = np.ones(1)
    optimizer = Holder(algorithm="SGD", state={"state": {"u": one}, "0.weight": {"u": one}})
    mi.save(tmp_path / "x", model=Holder(state=one), optimizer=optimizer)
    load_file = pytest.importorskip("safetensors.numpy").load_file
    assert set(load_file(tmp_path / "x")) == {"model/state", "optimizer/state/u", "optimizer/0.weight/u"}


@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
def test_objects_get_their_states_and_plain_values_are_returned(state_dtype, tmp_path):
    model, other = network(), network()
    saved = Holder(**optimizer_state(model, state_dtype))
    mi.save(tmp_path / "x", model=model, optimizer=saved, step=100, note=[1.5])
    empty = Holder(**dict.fromkeys(saved.state))
    assert mi.load(tmp_path / "x", optimizer=empty, model=other) == {"step": 100, "note": [1.5]}
    assert same(empty.state, saved.state)
    assert same(other.state_dict(), model.state_dict())
    assert type(other[0].weight) is mi.nn.Parameter


def test_what_is_not_asked_for_is_left_alone_and_load_without_objects_shows_it(tmp_path):
    model, other = network(), network()
    state = optimizer_state(model)
    mi.save(tmp_path / "x", model=model, optimizer=Holder(**state), step=1)
    assert mi.load(tmp_path / "x", model=other) == {"step": 1}
    assert same(other.state_dict(), model.state_dict())
    generator().random()
    before = get_state()
    shown = mi.load(tmp_path / "x")
    assert list(shown) == ["step", "model", "optimizer"] and get_state() == before
    assert same(shown["optimizer"], state) and same(shown["model"], model.state_dict())


def test_the_random_generator_is_saved_and_restored(tmp_path):
    mi.save(tmp_path / "x", holder=Holder(a=1))
    expected = generator().random(3)
    generator().random(5)
    mi.load(tmp_path / "x", holder=Holder(a=2))
    np.testing.assert_array_equal(generator().random(3), expected)


def test_the_random_generator_stays_where_only_a_part_of_a_run_is_loaded(tmp_path):
    mi.save(tmp_path / "x", model=Holder(a=1), optimizer=Holder(b=1))
    generator().random(5)
    before = get_state()
    mi.load(tmp_path / "x", model=Holder(a=2))
    assert get_state() == before
    mi.load(tmp_path / "x", model=Holder(a=2), optimizer=Holder(b=2))
    assert get_state() != before


def test_the_same_contents_give_the_same_bytes(tmp_path):
    model = network()
    for name in ("x", "y"):
        mi.save(tmp_path / name, model=model, optimizer=Holder(**optimizer_state(model)), step=3, more={"b": 1, "a": 2})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_a_checkpoint_is_loaded_and_saved_again_without_a_change(tmp_path):
    model = network()
    mi.save(tmp_path / "x", model=model, step=3)
    other = network()
    mi.save(tmp_path / "y", model=other, **mi.load(tmp_path / "x", model=other))
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


# Other readers -------------------------------------------------------------------------------------------------------


def saved_run(path, state_dtype=None):
    model = network()
    state = optimizer_state(model, state_dtype)
    mi.save(path, model=model, optimizer=Holder(**state), step=100, flags=np.array([True, False, True]))
    return model, state


NAMES = {
    *("model/0.weight", "model/0.bias", "model/1.weight", "model/1.bias", "model/1.running_mean"),
    *("model/1.running_var", "model/1.num_batches_tracked", "model/2.weight", "model/2.bias", "flags"),
    *(
        f"optimizer/{i}.{part}/{slot}"
        for i in "012"
        for part in ("weight", "bias")
        for slot in ("exp_avg", "exp_avg_sq")
    ),
}


def test_safetensors_reads_the_tensors_under_plain_names(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    model, state = saved_run(tmp_path / "x")
    tensors = numpy.load_file(tmp_path / "x")
    assert tensors.keys() == NAMES
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(tensors[f"model/{name}"], value.numpy())
    for name, slots in state["state"].items():
        for slot, value in slots.items():
            np.testing.assert_array_equal(tensors[f"optimizer/{name}/{slot}"], value)


def test_pytorch_reads_the_tensors_and_bfloat16_as_bfloat16(tmp_path):
    torch = pytest.importorskip("torch")
    _, state = saved_run(tmp_path / "x", "bfloat16")
    tensors = pytest.importorskip("safetensors.torch").load_file(tmp_path / "x")
    assert tensors.keys() == NAMES
    for name, slots in state["state"].items():
        for slot, bits in slots.items():
            found = tensors[f"optimizer/{name}/{slot}"]
            assert found.dtype == torch.bfloat16
            expected = (bits.astype(np.uint32) << 16).view(np.float32)
            np.testing.assert_array_equal(found.to(torch.float32).numpy(), expected)


def test_what_is_no_tensor_is_json_in_the_metadata(tmp_path):
    _, state = saved_run(tmp_path / "x")
    with pytest.importorskip("safetensors").safe_open(tmp_path / "x", framework="numpy") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"minima", "sha256"}
    told = json.loads(metadata["minima"])
    assert told["format"] == 1 and told["random"] == get_state()
    assert told["values"] == {"step": 100, "flags": {"$array": "flags"}}
    assert told["objects"]["model"]["0.bias"] == {"$tensor": "model/0.bias"}
    optimizer = told["objects"]["optimizer"]
    assert optimizer["groups"] == state["groups"] and optimizer["steps"] == state["steps"]
    assert optimizer["state"]["0.bias"]["exp_avg"] == {"$array": "optimizer/0.bias/exp_avg"}


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(tmp_path):
    saved_run(tmp_path / "x")
    with pytest.importorskip("safetensors").safe_open(tmp_path / "x", framework="numpy") as file:
        told = file.metadata()["sha256"]
    content = (tmp_path / "x").read_bytes()
    assert content.count(told.encode()) == 1
    assert hashlib.sha256(content.replace(told.encode(), b"0" * 64)).hexdigest() == told


def test_tensors_lie_at_multiples_of_their_item_size(tmp_path):
    mi.save(
        tmp_path / "x", a=np.zeros(3, "int8"), b=np.zeros(1, "float64"), c=np.zeros(1, "float16"), d=np.zeros(1, "f4")
    )
    content = (tmp_path / "x").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    sizes = {"I8": 1, "F64": 8, "F16": 2, "F32": 4}
    assert length % 8 == 0 and len(header) == 4
    assert all(each["data_offsets"][0] % sizes[each["dtype"]] == 0 for each in header.values())
