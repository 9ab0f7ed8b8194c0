"""Whatever happens to the bytes of a checkpoint, loading it says so in one sentence and loads nothing."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import Holder, network, optimizer_state

import minima as mi
from minima.checkpoint import CheckpointError
from minima.checkpoint.format import _OPENING, Reader


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "x"
    model = network()
    mi.save(path, model=model, optimizer=Holder(**optimizer_state(model)), step=100)
    return path.read_bytes()


def header_length(content):
    return 8 + int.from_bytes(content[:8], "little")


def assert_refused(path):
    holder = Holder(x=1)
    with pytest.raises(CheckpointError) as caught:
        mi.load(path, model=holder)
    text = str(caught.value)
    assert text.startswith((f"load: {path} is damaged: it", f"load: {path} is not a checkpoint that")), text
    assert "\n" not in text and holder.state == {"x": 1}


def test_the_file_as_it_was_is_loaded(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    assert mi.load(tmp_path / "x", model=network()) == {"step": 100}


def test_a_bit_that_has_turned_over_anywhere_is_found(content, tmp_path):
    path = tmp_path / "x"
    random = np.random.default_rng(0)
    # every bit of the length, of the opening and of the checksum, and some of everything else
    places = [*range(8 * (8 + len(_OPENING) + 66)), *random.integers(0, 8 * len(content), 800).tolist()]
    for place in places:
        altered = bytearray(content)
        altered[place // 8] ^= 1 << place % 8
        path.write_bytes(altered)
        assert_refused(path)


def test_a_file_that_is_cut_off_anywhere_is_refused(content, tmp_path):
    path = tmp_path / "x"
    head = header_length(content)
    random = np.random.default_rng(1)
    lengths = {*range(120), *range(head - 9, head + 9), *range(len(content) - 20, len(content))}
    for length in [*sorted(lengths), *random.integers(0, len(content), 200).tolist()]:
        path.write_bytes(content[:length])
        assert_refused(path)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_bytes_that_are_replaced_put_in_taken_out_or_moved_are_found(content, data, tmp_path_factory):
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 600)))
    middle = data.draw(st.binary(max_size=20) | st.just(bytes(end - start)) | st.just(content[start:end][::-1]))
    altered = content[:start] + middle + content[end:]
    if altered != content:
        path = tmp_path_factory.mktemp("altered") / "x"
        path.write_bytes(altered)
        assert_refused(path)


def test_the_message_says_how_a_file_is_damaged(content, tmp_path):
    path = tmp_path / "x"
    size = len(content)
    other = bytearray(content)
    other[50] ^= 1
    for altered, told in (
        (content[:999], "damaged: it is cut off after 999 bytes"),
        (content[:-1], f"damaged: it has {size - 1} bytes where its header says {size}"),
        (content + b"x", f"damaged: it has {size + 1} bytes where its header says {size}"),
        (bytes(other), "damaged: its checksum does not fit what is in it"),
        (content[:300] + b"\xff" + content[301:], "damaged: its header cannot be read"),
        ((10**9).to_bytes(8, "little") + content[8:], "not a checkpoint that minima.save wrote"),
    ):
        path.write_bytes(altered)
        with pytest.raises(CheckpointError) as caught:
            mi.load(path)
        assert str(caught.value).startswith(f"load: {path} is {told}")


def test_zeros_at_the_end_as_file_systems_leave_them_after_a_power_cut_are_found(content, tmp_path):
    for keep in range(0, len(content), 512):
        (tmp_path / "x").write_bytes(content[:keep] + bytes(len(content) - keep))
        assert_refused(tmp_path / "x")


def test_a_file_that_shrinks_while_it_is_read_is_refused(content, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(content)
    verify = Reader._verify

    def verified(reader):
        verify(reader)
        path.write_bytes(content[:-1000])

    monkeypatch.setattr(Reader, "_verify", verified)
    with pytest.raises(CheckpointError, match="is damaged: it was cut off while it was read$"):
        mi.load(path)


# Files that are sealed like a checkpoint, but not by save -------------------------------------------------------------


def forged(header, data=b""):
    """A file with this header and a checksum that fits."""
    metadata = {"sha256": "0" * 64, **header.pop("__metadata__", {})}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    whole = len(text).to_bytes(8, "little") + text + data
    return whole.replace(b"0" * 64, hashlib.sha256(whole).hexdigest().encode(), 1)


def state(**changes):
    plain = {"format": 1, "objects": {}, "values": {"step": 1}, "random": mi.random.get_state(), **changes}
    return {"__metadata__": {"minima": json.dumps(plain)}}


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}, **state()}


def test_a_file_forged_as_save_writes_it_is_loaded(tmp_path):
    (tmp_path / "x").write_bytes(forged(tensor() | state(values={"b": {"$array": "a"}}), bytes(8)))
    assert mi.load(tmp_path / "x")["b"].tolist() == [0, 0]


@pytest.mark.parametrize("version", [0, 2, 10**30, "2", None])
def test_a_file_of_another_format_is_refused_as_such(version, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(forged(state(format=version)))
    with pytest.raises(CheckpointError) as caught:
        mi.load(path)
    rule = "must have format 1, which this version of minima reads"
    assert str(caught.value) == f"load: {path} {rule}; got {version!r}; update minima"


FORGERIES = {
    "no state": {},
    "state no JSON": {"__metadata__": {"minima": "{"}},
    "state a list": {"__metadata__": {"minima": "[1]"}},
    "state no text": {"__metadata__": {"minima": 3}},
    "state without parts": {"__metadata__": {"minima": '{"format": 1}'}},
    "state nested beyond reason": {"__metadata__": {"minima": "[" * 100_000}},
    "a number beyond reason": {"__metadata__": {"minima": "9" * 100_000}},
    "objects a number": state(objects=3),
    "an array that is missing": state(values={"a": {"$array": "b"}}),
    "an array without a name": state(values={"a": {"$array": [1]}}),
    "a tuple of a number": state(values={"a": {"$tuple": 3}}),
    "a float of letters": state(values={"a": {"$float": "x"}}),
    "a float of a list": state(values={"a": {"$float": []}}),
    "a dict of numbers": state(values={"a": {"$dict": [1, 2]}}),
    "a dict with a key that is a list": state(values={"a": {"$dict": [[[1], 2]]}}),
    "a dtype of the future": tensor(dtype="F4"),
    "a dtype that is a list": tensor(dtype=[]),
    "a shape beyond the data": tensor(shape=(3,)),
    "a negative shape": tensor(shape=(-1, -2)),
    "a shape of floats": tensor(shape=(2.0,)),
    "a shape of one number": tensor(shape=2),
    "offsets of floats": tensor(offsets=(0.0, 8.0)),
    "offsets from elsewhere": tensor(offsets=(-8, 0)),
    "three offsets": tensor(offsets=(0, 4, 8)),
    "a gap": {**tensor(), "b": {"dtype": "U8", "shape": [0], "data_offsets": [4, 4]}},
    "a tensor that is a number": {"a": 3, **state()},
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_file_sealed_with_nonsense_in_it_is_refused(kind, tmp_path):
    path = tmp_path / "x"
    header = json.loads(json.dumps(FORGERIES[kind]))
    path.write_bytes(forged(header, bytes(8) if "a" in header else b""))
    with pytest.raises(CheckpointError, match=f"^load: {path} is (damaged: its header|not a checkpoint that) "):
        mi.load(path)


def test_a_generator_that_is_none_is_refused_and_nothing_is_loaded(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(forged(state(objects={"a": {"x": 1}}, random={"bit_generator": "MT19937"})))
    holder = Holder(x=0)
    with pytest.raises(CheckpointError):
        mi.load(path, a=holder)
    assert holder.state == {"x": 0}
