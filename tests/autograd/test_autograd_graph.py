"""The tape: what is recorded, what backward does with it, and what writing in place does to it."""

import asyncio
import gc
import inspect
import sys
import threading

import numpy as np
import pytest

from minima.autograd import Tensor, concatenate, enable_grad, is_grad_enabled, no_grad


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), requires_grad=True)


def grad(tensor: Tensor) -> list[float]:
    assert tensor.grad is not None
    return tensor.grad.tolist()


def test_a_value_used_twice_gets_both_gradients():
    x = leaf(2.0, 3.0)
    y = x * x
    (y * x + y).sum().backward()
    assert grad(x) == [3 * 4 + 2 * 2, 3 * 9 + 2 * 3]


def test_a_diamond_is_walked_once():
    x = leaf(1.0)
    y = x * 1
    for _ in range(60):  # 2**60 paths
        y = y + y
    y.sum().backward()
    assert grad(x) == [2.0**60]


def test_gradients_accumulate_until_they_are_set_to_none():
    x = leaf(1.0, 2.0)
    (3 * x).sum().backward()
    first = x.grad
    (4 * x).sum().backward()
    assert grad(x) == [7.0, 7.0]
    assert first.tolist() == [3.0, 3.0]
    x.grad = None
    x.sum().backward()
    assert grad(x) == [1.0, 1.0]


def test_intermediates_get_no_grad():
    x = leaf(1.0)
    y = x * 2
    y.sum().backward()
    assert y.grad is None and not y.is_leaf and x.is_leaf


def test_a_frozen_leaf_gets_no_gradient_and_a_thawed_one_does():
    x, y = leaf(2.0), leaf(3.0)
    x.requires_grad = False
    (x * y).sum().backward()
    assert x.grad is None and grad(y) == [2.0]
    x.requires_grad_(True)
    (x * y).sum().backward()
    assert grad(x) == [3.0]


def test_a_leaf_frozen_after_its_use_gets_no_gradient():
    x, y = leaf(2.0), leaf(3.0)
    product = x * y
    x.requires_grad = False
    product.sum().backward()
    assert x.grad is None and grad(y) == [2.0]


def test_a_rule_is_not_called_for_an_input_that_needs_no_gradient():
    x = Tensor([0.0, 1.0])
    y = leaf(2.0, 2.0)
    (x**y).sum().backward()  # the derivative by x is not asked for
    assert x.grad is None and grad(y) == [0.0, 0.0]


def test_a_leaf_can_be_differentiated_by_itself():
    x = leaf(3.0)
    x.backward()
    x.backward()
    assert grad(x) == [2.0]


def test_backward_multiplies_with_the_gradient_that_it_is_given():
    for gradient in (Tensor([1.0, 10.0]), np.array([1.0, 10.0])):
        x = leaf(1.0, 2.0)
        (x * 2).backward(gradient)
        assert grad(x) == [2.0, 20.0]
        assert x.grad.dtype == np.float32


def test_grad_never_shares_memory_with_the_gradient_given_or_with_another_grad():
    x, y, gradient = leaf(1.0, 2.0), leaf(1.0, 2.0), Tensor([1.0, 1.0])
    (x + y).backward(gradient)
    gradient[...] = 5.0
    x.grad *= 7
    assert grad(y) == [1.0, 1.0] and grad(x) == [7.0, 7.0]


def test_retain_graph_allows_a_second_backward():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert grad(x) == [8.0]


def test_a_second_backward_is_refused():
    x = leaf(2.0)
    y = x * x
    loss = y.sum()
    loss.backward()
    for again in (loss, y.exp()):
        with pytest.raises(RuntimeError, match="the graph was freed by an earlier backward; call that one with retain"):
            again.backward()
    assert grad(x) == [4.0]


def test_backward_releases_what_was_saved():
    x = leaf(2.0)
    y = x.exp()
    loss = y.sum()
    node = y.node
    loss.backward()
    assert node.record is None


def test_a_failed_backward_leaves_the_grads_as_they_were():
    x, y = leaf(2.0), leaf(3.0)
    x.grad = Tensor([1.0])
    y.grad = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"a leaf of shape \(1,\) has a grad of shape \(2,\); set it to None"):
        (x * y).backward()
    assert grad(x) == [1.0] and grad(y) == [1.0, 2.0]


def test_ten_thousand_operations_in_a_row_are_differentiated():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y + x
    y.backward()
    assert grad(x) == [10_001.0]


def test_a_long_graph_can_be_dropped_without_backward():
    y = leaf(1.0)
    for _ in range(100_000):
        y = y * 1.0
    del y
    gc.collect()


def test_a_graph_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(1.0)
        y = (x * 2).exp()
        saved = y.buffer
        before = sys.getrefcount(saved)
        del y
        assert sys.getrefcount(saved) < before - 1
    finally:
        gc.enable()


# Modes ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_recorded_under_no_grad():
    x = leaf(1.0)
    with no_grad():
        assert not is_grad_enabled() and not (x * 2).requires_grad
        with enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert is_grad_enabled() and (x * 2).requires_grad


def test_no_grad_ends_with_an_exception():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_grad_enabled()


def test_no_grad_decorates_functions_that_call_themselves():
    @no_grad()
    def countdown(n: int) -> bool:
        return is_grad_enabled() or (n > 0 and countdown(n - 1))

    assert not countdown(3) and is_grad_enabled()


MODES = [(no_grad, False), (enable_grad, True)]


@pytest.mark.parametrize(("mode", "inside"), MODES)
def test_the_mode_of_a_decorated_generator_holds_in_its_body_and_not_between_its_values(mode, inside):
    seen = []

    @mode()
    def generate(count):
        """Words."""
        try:
            for i in range(count):
                seen.append(is_grad_enabled())
                try:
                    seen.append((yield i))
                except KeyError:
                    seen.append(is_grad_enabled())
        finally:
            seen.append(is_grad_enabled())
        return count

    assert generate.__doc__ == "Words." and inspect.isgeneratorfunction(generate)
    for outside in (no_grad, enable_grad):
        with outside():
            expected = is_grad_enabled()
            running = generate(4)
            assert next(running) == 0 and is_grad_enabled() is expected
            assert running.send("sent") == 1 and is_grad_enabled() is expected
            assert running.throw(KeyError()) == 2 and is_grad_enabled() is expected
            running.close()
            assert is_grad_enabled() is expected
            assert seen == [inside, "sent", inside, inside, inside, inside]
            seen.clear()
            with pytest.raises(StopIteration) as stopped:
                running = generate(1)
                next(running), next(running)
            assert stopped.value.value == 1 and is_grad_enabled() is expected
            with pytest.raises(ValueError):
                running = generate(1)
                next(running), running.throw(ValueError())
            assert is_grad_enabled() is expected
            seen.clear()


def test_a_mode_that_a_generator_sets_around_a_yield_stays_its_own():
    seen = []

    @no_grad()
    def generate():
        with enable_grad():
            yield
            seen.append(is_grad_enabled())
            yield
        seen.append(is_grad_enabled())
        yield

    with no_grad():
        for _ in generate():
            assert not is_grad_enabled()
    for _ in generate():
        assert is_grad_enabled()
    assert seen == [True, False] * 2


@pytest.mark.parametrize(("mode", "inside"), MODES)
def test_the_mode_of_a_decorated_coroutine_holds_in_its_body_and_not_while_it_waits(mode, inside):
    seen = []

    @mode()
    async def work(delay):
        for _ in range(3):
            seen.append(is_grad_enabled())
            await asyncio.sleep(delay)
        seen.append(is_grad_enabled())
        return delay

    async def watch():
        results = asyncio.gather(work(0), work(0.001))
        for _ in range(5):
            assert is_grad_enabled() is (not inside)
            await asyncio.sleep(0)
        assert await results == [0, 0.001]
        assert await work(0) == 0 and is_grad_enabled() is (not inside)

    with enable_grad() if mode is no_grad else no_grad():
        asyncio.run(watch())
        by_hand = work(0)
        by_hand.send(None)  # as an event loop without contexts would
        assert is_grad_enabled() is (not inside)
        by_hand.close()
    assert set(seen) == {inside} and inspect.iscoroutinefunction(work)


@pytest.mark.parametrize("mode", [no_grad, enable_grad])
def test_an_asynchronous_generator_is_refused_by_the_modes(mode):
    async def generate():
        yield 1

    with pytest.raises(TypeError) as caught:
        mode()(generate)
    assert str(caught.value).startswith(
        f"{mode.__name__}: an asynchronous generator cannot be decorated; got <function"
    )
    assert str(caught.value).endswith(f"; use with {mode.__name__}() around the operations in it")


def test_one_mode_serves_again_and_inside_itself():
    quiet = no_grad()
    for _ in range(2):
        with quiet, enable_grad(), quiet:
            assert not is_grad_enabled()
        assert is_grad_enabled()


def test_threads_have_modes_of_their_own():
    seen: list[bool] = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


# Memory --------------------------------------------------------------------------------------------------------------


def test_data_shares_memory_and_assigning_it_writes_into_it():
    x = leaf(1.0, 2.0)
    view, buffer = x.detach(), x.buffer
    x.data = x.data - 0.5 * Tensor([2.0, 2.0])
    x.data *= 2
    x.data = np.array([1.0, 2.0]) + x.data
    assert x.buffer is buffer and view.tolist() == x.tolist() == [1.0, 4.0]
    assert x.requires_grad and not x.data.requires_grad and x.dtype == np.float32


def test_a_step_under_no_grad_writes_in_place():
    w = leaf(1.0, 2.0)
    buffer = w.buffer
    (w * w).sum().backward()
    with no_grad():
        w -= 0.5 * w.grad
    assert w.buffer is buffer and w.tolist() == [0.0, 0.0] and w.requires_grad and w.is_leaf


def test_views_see_writes():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    row, element, turned = x[0], x[1, 1], x.T
    x[0, 1] = 9.0
    x += 1
    assert row.tolist() == [2.0, 10.0] and element.item() == 5.0 and turned.tolist() == [[2.0, 4.0], [10.0, 5.0]]
    row *= 0
    assert x.tolist() == [[0.0, 0.0], [4.0, 5.0]]


def test_copies_do_not_see_writes():
    x = Tensor([1.0, 2.0])
    others = [x.copy(), x.clone(), Tensor(x), x[[0, 1]], x.astype(float), +x]
    x += 1
    assert all(other.tolist() == [1.0, 2.0] for other in others)


def test_a_sum_in_place_differentiates():
    x = leaf(1.0, 2.0)
    total = Tensor(0.0)
    buffer = total.buffer
    for value in x:
        total += value * value
    total.backward()
    assert total.buffer is buffer and grad(x) == [2.0, 4.0]


def test_every_operator_in_place_differentiates_like_its_form_out_of_place():
    for operator in ("add", "sub", "mul", "truediv", "pow", "mod", "matmul"):
        grads = []
        for form in (f"__{operator}__", f"__i{operator}__"):
            x, y = (
                Tensor([[1.5, 2.0], [1.0, 3.0]], requires_grad=True),
                Tensor([[2.0, 1.5], [4.0, 2.5]], requires_grad=True),
            )
            z = x * 1.0
            before = z + x
            z = getattr(z, form)(y)
            z = getattr(z, form)(z * 1.0 + 0.25)
            (z + before).sum().backward()
            grads.append((x.grad.numpy(), y.grad.numpy()))
        np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5)


def test_an_update_by_itself_differentiates():
    x = leaf(2.0, 3.0)
    y = x * 1
    y *= y
    y.sum().backward()
    assert grad(x) == [4.0, 6.0]
    x.grad = None
    y = x * 1
    y *= y[::-1]
    y.sum().backward()
    assert grad(x) == [6.0, 4.0]


def test_the_old_node_of_an_updated_tensor_stays_with_its_users():
    x = leaf(2.0)
    y = x * 3
    z = y + 1
    y += x
    (y + z).sum().backward()
    assert grad(x) == [3.0 + 1 + 3]


def overwrite_by_operator(y: Tensor) -> None:
    y += 1


def overwrite_by_data(y: Tensor) -> None:
    y.data = y.data * 2


def overwrite_by_alias(y: Tensor) -> None:
    alias = y.detach()
    alias *= 2


def overwrite_by_data_operator(y: Tensor) -> None:
    y.data *= 2


def overwrite_by_index(y: Tensor) -> None:
    y.data[0] = 7.0


def overwrite_by_view(y: Tensor) -> None:
    with no_grad():
        part = y[:1]
        part -= 1


def overwrite_by_buffer(y: Tensor) -> None:
    y.buffer[0] = 3
    y.mark_written()


@pytest.mark.parametrize(
    "overwrite",
    [
        overwrite_by_operator,
        overwrite_by_data,
        overwrite_by_alias,
        overwrite_by_data_operator,
        overwrite_by_index,
        overwrite_by_view,
        overwrite_by_buffer,
    ],
)
def test_a_saved_value_that_was_overwritten_is_noticed(overwrite):
    x = leaf(1.0, 2.0)
    y = x * 2
    loss = (y * y).sum()
    overwrite(y)
    with pytest.raises(RuntimeError, match="Tensor.backward: a value that the derivative of multiply needs was overwr"):
        loss.backward()
    assert x.grad is None


def test_a_parameter_written_between_forward_and_backward_is_noticed():
    w, x = leaf(2.0), leaf(3.0)
    loss = w * x
    with no_grad():
        w -= 1
    with pytest.raises(RuntimeError, match="was overwritten in place; write after backward"):
        loss.backward()


def test_overwriting_what_no_derivative_needs_is_allowed():
    x = leaf(1.0, 2.0)
    y = x + 1
    loss = (y * 3 + y).sum()
    y.data *= 0
    loss.backward()
    assert grad(x) == [4.0, 4.0]


def test_overwriting_a_batch_of_indices_does_not_change_the_gradient():
    x, ids = leaf(1.0, 2.0, 3.0), Tensor([0, 0])
    loss = x[ids].sum()
    ids[...] = 2
    loss.backward()
    assert grad(x) == [2.0, 0.0, 0.0]


def test_a_view_from_before_a_write_is_refused_after_it():
    x = leaf(1.0, 2.0)
    y = x * 2
    view = y[0]
    y *= 3
    with pytest.raises(
        RuntimeError, match="exp: an input was overwritten in place, through a view or outside the graph"
    ):
        view.exp()
    y[0].backward()
    assert grad(x) == [6.0, 0.0]


def test_a_view_of_a_parameter_from_before_a_step_is_refused_after_it():
    w = leaf(1.0, 2.0)
    row = w[0]
    w.data = w.data * 2
    with pytest.raises(RuntimeError, match="take the view again"):
        row * 2
    with no_grad():
        assert (row * 2).item() == 4.0


def test_a_view_cannot_be_changed_by_a_recorded_operation():
    x = leaf(1.0)
    y = x * 2
    for view in (y[0], y.detach(), y.reshape(1, 1)):
        with pytest.raises(
            RuntimeError, match="Tensor: a view of another tensor cannot be changed in place while oper"
        ):
            view += x.sum()


def test_a_gradient_flows_through_pieces_put_together():
    x = leaf(1.0, 2.0, 3.0)
    concatenate([x[2:], x[:2]])[0].backward()
    assert grad(x) == [0.0, 0.0, 1.0]
