"""Rules that take matrices apart: eigenvectors, orthogonal factors, columns in order, state of rows by rows."""

import numpy as np
import pytest

from minima import Tensor
from minima.optim import ColumnsByColumns, Optimizer, RowsByRows, eigh, hyper, qr, sort_columns, sum


class Whitened(Optimizer):
    """A root of what gradients have been, by rows, and a basis that follows them, by columns."""

    lr: float = hyper(0.1, low=0)
    damping: float = hyper(0.5, above=0)

    @staticmethod
    def update(param, grad, left: RowsByRows = "damping", right: ColumnsByColumns = 2.0, basis: ColumnsByColumns = 1.0,
               *, lr, damping):  # fmt: skip
        left = left + grad @ grad.T
        right = 0.5 * right + grad.T @ grad
        product = right @ basis
        order = sum(basis * product, axis=0)
        basis, upper = qr(sort_columns(product, order))
        values, vectors = eigh(left)
        root = vectors * values**-0.5 @ vectors.T
        return param - lr * (root @ grad @ basis) * sum(upper**2) ** 0.5, left, right, basis


def expected(param, grads, lr=0.1, damping=0.5):
    """The same in NumPy, through a root that is none of eigenvectors: Newton's, of Denman and Beavers."""
    param = param.astype(np.float64)
    rows, columns = param.shape[0], param[0].size if len(param) else int(np.prod(param.shape[1:]))
    left, right, basis = damping * np.eye(rows), 2.0 * np.eye(columns), np.eye(columns)
    for grad in grads:
        g = grad.astype(np.float64).reshape(rows, columns)
        left, right = left + g @ g.T, 0.5 * right + g.T @ g
        product = right @ basis
        product = product[:, np.argsort(-np.einsum("ij,ij->j", basis, product), kind="stable")]
        basis, upper = np.linalg.qr(product)
        y, z = left, np.eye(rows)
        for _ in range(40):
            y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
        param = param - lr * np.linalg.norm(upper) * (z @ g @ basis).reshape(param.shape)
    return param, left, right, basis


def gradients(shape, steps=20):
    rng = np.random.default_rng(1)
    return [rng.normal(size=shape) * 10.0 ** rng.uniform(-1, 1) for _ in range(steps)]


def stepped(optimizer, params, grads):
    for row in zip(*grads, strict=True):
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype=param.dtype)
        optimizer.step()


@pytest.mark.parametrize(("dtype", "allowed"), [("float64", 1e-11), ("float32", 2e-4)])
def test_every_state_is_what_numpy_makes_of_it(dtype, allowed):
    shapes, rng = [(3, 4), (5, 2), (2, 2, 3), (1, 4)], np.random.default_rng(0)
    params = [Tensor(rng.normal(size=shape), dtype=dtype, requires_grad=True) for shape in shapes]
    starts, grads = [param.detach().numpy().copy() for param in params], list(map(gradients, shapes))
    optimizer = Whitened([{"params": params[:2]}, {"params": params[2:], "damping": 0.25, "lr": 0.3}])
    stepped(optimizer, params, grads)
    for place, (start, own) in enumerate(zip(starts, grads, strict=True)):
        settings = {"lr": 0.3, "damping": 0.25} if place > 1 else {}
        found = [params[place].detach(), *(getattr(optimizer, name)[place] for name in ("left", "right", "basis"))]
        for value, wanted in zip(found, expected(start, own, **settings), strict=True):
            assert value.dtype == dtype
            assert np.abs(value.numpy() - wanted).max() <= allowed * max(1, np.abs(wanted).max()), place


def test_state_begins_as_its_first_value_times_the_identity():
    w = Tensor(np.zeros((2, 3)), requires_grad=True)
    optimizer = Whitened([w], damping=0.25)
    assert np.array_equal(optimizer.left[0], 0.25 * np.eye(2, dtype="float32"))
    assert np.array_equal(optimizer.right[0], 2 * np.eye(3, dtype="float32"))
    assert optimizer.basis[0].shape == (3, 3)


@pytest.mark.parametrize("options", [{"state_dtype": "bfloat16"}, {"state_dtype": "int8"}, {"max_norm": 100.0}])
def test_matrices_are_kept_as_they_are_computed_whatever_else_is_asked_for(options):
    rng = np.random.default_rng(0)
    results = []
    for each in ({}, options):
        w = Tensor(np.ones((3, 3)), requires_grad=True)
        optimizer = Whitened([w], **each)
        stepped(optimizer, [w], [[0.01 * rng.normal(size=(3, 3)) * 0 + np.diag([1.0, 2.0, 3.0])] * 3])
        results.append((w.detach().numpy().copy(), optimizer.left[0].numpy().copy()))
    (one, left), (other, kept) = results
    assert np.array_equal(one, other)
    assert np.array_equal(left, kept)


def test_a_run_goes_on_from_its_state_dict_with_the_same_bits():
    grads = gradients((3, 4), steps=8)
    whole = Tensor(np.ones((3, 4)), requires_grad=True)
    stepped(Whitened([whole]), [whole], [grads])
    half = Tensor(np.ones((3, 4)), requires_grad=True)
    before = Whitened([half])
    stepped(before, [half], [grads[:4]])
    after = Whitened([half])
    after.load_state_dict(before.state_dict())
    stepped(after, [half], [grads[4:]])
    assert np.array_equal(whole.detach(), half.detach())


def test_state_of_another_shape_is_not_loaded():
    w, other = (Tensor(np.ones(shape), requires_grad=True) for shape in ((3, 4), (4, 3)))
    with pytest.raises(ValueError, match=r"'0/left' has shape \(3, 3\) where \(4, 4\) is needed.*nothing was loaded"):
        Whitened([other]).load_state_dict(Whitened([w]).state_dict())


def test_a_gradient_that_is_not_finite_goes_on_into_the_parameter_and_raises_nothing():
    w, other = (Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(2))
    optimizer = Whitened([w, other])
    stepped(optimizer, [w, other], [[np.full((2, 2), np.nan)], [np.eye(2)]])
    assert np.isnan(w.detach().numpy()).all()
    assert np.isfinite(other.detach().numpy()).all()


def test_what_has_no_elements_takes_a_step():
    params = [Tensor(np.zeros(shape), requires_grad=True) for shape in ((0, 3), (3, 0))]
    stepped(Whitened(params), params, [[np.zeros((0, 3))], [np.zeros((3, 0))]])


def test_the_fused_engine_says_what_it_has_not():
    w = Tensor(np.ones((2, 2)), requires_grad=True)
    words = "Whitened: engine 'fused' cannot step parameter 0: it keeps matrices of rows by rows, or of columns by "
    with pytest.raises(ValueError, match=words.replace("'", ".")):
        Whitened([w], engine="fused")
    assert Whitened([w]).engine == "reference"


def test_bytes_of_square_matrices_count():
    state = Whitened.explain().state
    assert state == {"left": 4.0, "right": 4.0, "basis": 4.0}
    assert Whitened.explain(dtype="float64").state["left"] == 8.0
    assert "eigh" in str(Whitened.explain())


def test_the_formula_says_what_is_taken_apart():
    pytest.importorskip("sympy")
    lines = str(Whitened.formula(wd=0)).splitlines()
    assert "values = eigh(left)[0]" in lines
    assert "vectors = eigh(left)[1]" in lines
    assert "basis = qr(sort_columns(product, order))[0]" in lines
    latex = Whitened.formula().latex
    assert r"\operatorname{eigenvalues}\left(\mathrm{left}_t\right)" in latex
    assert r"\operatorname{Q}\left(\operatorname{sort}\left(\mathrm{product}_t, \mathrm{order}_t\right)\right)" in latex


def by_hand(library, x):
    """What the words give for a matrix of a library."""
    values, vectors = eigh(x)
    q, r = qr(x)
    return [values, vectors * values @ vectors.T, vectors.T @ vectors, q @ r, q.T @ q, sort_columns(x, sum(x, axis=0))]


@pytest.mark.parametrize("library", ["numpy", "torch", "jax.numpy"])
def test_words_run_on_arrays_of_all_libraries(library):
    module = pytest.importorskip(library)
    x = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 5.0]], np.float32)
    found = by_hand(library, getattr(module, "tensor", module.array if library != "torch" else None)(x))
    wanted = [np.linalg.eigvalsh(x)[None], x, np.eye(3), x, np.eye(3), x[:, [2, 1, 0]]]
    for value, expected in zip(found, wanted, strict=True):
        assert "float32" in str(value.dtype)
        assert np.allclose(np.asarray(value), expected, atol=1e-5)


def test_eigenvalues_of_a_float32_matrix_are_those_of_float64():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    x = (q * [1.0, 1e-2, 1e-4, 1e-6] @ q.T).astype(np.float32)
    values, _ = eigh(x)
    assert np.allclose(values[0], np.linalg.eigvalsh(x.astype(np.float64)), rtol=1e-6)


def test_of_columns_that_are_equal_the_first_stays_first_and_nan_goes_last():
    x = np.arange(4.0)[None]
    assert sort_columns(x, np.array([[1.0, np.nan, 2.0, 1.0]])).tolist() == [[2.0, 0.0, 3.0, 1.0]]
    torch = pytest.importorskip("torch")
    assert sort_columns(torch.tensor(x), torch.tensor([[1.0, torch.nan, 2.0, 1.0]])).tolist() == [[2.0, 0.0, 3.0, 1.0]]


GIVE = "update must give eigh a square matrix, and gives it"
REFUSED = [
    (lambda param, grad, *, lr: eigh(grad)[0], f"{GIVE} an array of rows x columns; write eigh(x @ x.T)"),
    (lambda param, grad, *, lr: qr(lr)[0], f"{GIVE.replace('eigh', 'qr')} one number; write qr(x @ x.T)"),
    (
        lambda param, grad, *, lr: sort_columns(grad, sum(grad, axis=1)),
        "update must sort the columns of rows x columns by one number of each, and does it by rows x 1; "
        "write sort_columns(x, sum(x, axis=0)), or x.T for its rows",
    ),
    (
        lambda param, grad, *, lr: param - eigh(grad @ grad.T)[1],
        "update must not combine arrays of rows x columns and rows x rows; look for a .T too many or too few",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("update", "words"), REFUSED)
def test_what_does_not_fit_is_refused_when_the_class_is_made(update, words):
    with pytest.raises(TypeError) as raised:
        type("Mine", (Optimizer,), {"update": staticmethod(update), "lr": hyper(0.1, low=0)})
    assert str(raised.value) == f"Mine.update: {words}"


def test_state_of_rows_by_rows_holds_neither_elements_nor_columns_by_columns():
    for kept, came in (
        (lambda g: g, "one number for each element"),
        (lambda g: g.T @ g, "an array of columns x columns"),
    ):

        def update(param, grad, left: RowsByRows, *, lr, kept=kept):
            return param - lr * grad, kept(grad)

        def plain(param, grad, left: RowsByRows, *, lr):
            return update(param, grad, left, lr=lr)

        with pytest.raises(TypeError) as raised:
            type("Mine", (Optimizer,), {"update": staticmethod(plain), "lr": hyper(0.1, low=0)})
        assert f"left must be an array of rows x rows, as the signature says, and is {came}" in str(raised.value)


def test_a_matrix_by_hand_must_be_square():
    with pytest.raises(ValueError, match=r"^eigh: takes a square matrix; got \(2, 3\)$"):
        eigh(np.zeros((2, 3)))
