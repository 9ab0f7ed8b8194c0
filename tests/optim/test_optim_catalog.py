"""Optimizers by name."""

import pytest

from minima import optim
from minima.optim.rules import RULES


@pytest.fixture(params=["minima.optim", "minima.torch", "minima.jax"])
def face(request):
    if request.param == "minima.optim":
        return optim
    pytest.importorskip(request.param.rpartition(".")[2])
    return pytest.importorskip(request.param)


def test_every_name_gives_its_optimizer(face):
    for name in face.names():
        made = face.by_name(name)
        assert made.__name__.lower() == name and made is getattr(face, made.__name__)


def test_no_optimizer_is_left_out():
    assert [optim.by_name(name).__name__ for name in optim.names()] == [*RULES, "LBFGS"]


@pytest.mark.parametrize(("name", "loop"), [("sam", "SAM"), ("Look-ahead", "Lookahead")])
def test_what_goes_around_an_optimizer_says_so(name, loop):
    torch = pytest.importorskip("minima.torch")
    for face in (optim, torch):
        words = f"^{face.__name__}.by_name: {loop} goes around an optimizer, and is none by itself; write {loop}"
        with pytest.raises(ValueError, match=words):
            face.by_name(name)
        assert loop.lower() not in face.names()
    jax = pytest.importorskip("minima.jax")
    words = rf"^minima.jax.by_name: there is no .*in Optax; use optax\..*{loop.lower()}\("
    with pytest.raises(ValueError, match=words):
        jax.by_name(loop)


def test_inside_pytorch_a_name_of_pytorch_s_is_pytorch_s_algorithm():
    torch = pytest.importorskip("minima.torch")
    assert torch.by_name("rmsprop") is torch.RMSprop and torch.by_name("RMSProp") is torch.RMSprop
    assert {"adagrad", "lion", "muon"} <= {*torch.names()}


def test_inside_jax_a_name_of_optax_that_is_left_out_is_answered_with_what_to_do_instead():
    pytest.importorskip("jax")
    jax = pytest.importorskip("minima.jax")
    assert jax.by_name("Schedule-Free-SGD") is jax.schedule_free_sgd
    words = r"^minima.jax.by_name: there is no muon: it expects .* adapt\(minima.optim.Muon"
    with pytest.raises(ValueError, match=words):
        jax.by_name("Muon")


@pytest.mark.parametrize("name", ["AdamW", "adamw", "ADAMW", "adam_w", "Adam-W", "adam w"])
def test_neither_case_nor_what_joins_words_counts(name, face):
    assert face.by_name(name) is (face.adamw if face.__name__ == "minima.jax" else face.AdamW)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("adamv", ValueError, "there is no optimizer of this name; got 'adamv'; did you mean 'adam"),
        ("xyzzy", ValueError, "there is no optimizer of this name; got 'xyzzy'; names() lists all"),
        ("", ValueError, "got ''"),
        (optim.Adam, TypeError, "name must be a string"),
    ],
)
def test_a_name_that_no_optimizer_has_is_answered_in_a_sentence(name, kind, words, face):
    with pytest.raises(kind) as caught:
        face.by_name(name)
    assert str(caught.value).startswith(f"{face.__name__}.by_name: ") and words.lower() in str(caught.value).lower()
