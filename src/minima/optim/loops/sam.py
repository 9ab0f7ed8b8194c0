"""SAM and ASAM: steps along the gradient at the worst point nearby, for minima that are flat."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from minima.checks import checked, flag, number
from minima.errors import sentence
from minima.optim.core.interrupts import uninterrupted
from minima.optim.core.stepper import Stepper
from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import abs, norm, sqrt, total
from minima.optim.loops.loop import Loop
from minima.optim.optimizer import Optimizer

__all__ = ["SAM", "Ascent"]


class Ascent(Optimizer):
    """The way to the worst point nearby, as a rule of its own, which engines run like any other.

    Its steps are no steps of training: `SAM` takes them back.
    """

    rho: Hyper = hyper(default=0.05, low=0)
    eta: Hyper = hyper(default=0.01, low=0)
    adaptive: bool = hyper(default=False)

    @staticmethod
    def update(param: Any, grad: Any, *, rho: Any, eta: Any, adaptive: Any) -> Any:
        if not adaptive:
            n = sqrt(total(norm(grad) ** 2)) + 1e-12
            return param + rho * grad / n
        scale = abs(param) + eta
        n = sqrt(total(norm(scale * grad) ** 2)) + 1e-12
        return param + rho * scale**2 * grad / n


class SAM(Loop):
    """Lets an optimizer step with the gradient at the worst point nearby.

    ::

        scale = abs(param) + eta if adaptive else 1
        n = norm(scale*grad) + 1e-12                        (over all parameters of all groups)
        perturbed = param + rho*scale**2*grad/n
        (a step of the optimizer inside, on param, with the gradient at perturbed)

    A minimum in a narrow ravine belongs to this training set only; a minimum in a wide valley is low for other data
    too. Near a narrow minimum, the worst point has a high loss. Every step takes two gradients, and so about twice the
    time.

    Args:
        optimizer: Any optimizer except `LBFGS`, or a wrapper around one.
        rho: Radius of the neighbourhood, at least 0; with ``adaptive``, use about ten times as much.
        adaptive: Whether the neighbourhood is proportional to the size of the parameters (ASAM), so that it does not
            depend on the scale of layers.
        eta: Added to the size of the parameter with ``adaptive``, at least 0; without ``adaptive`` it has no effect.
        model: A module whose buffers are restored after the gradient at the worst point, so that the running statistics
            of ``BatchNorm`` do not include that point.

    Attributes:
        optimizer: The optimizer inside.
        is_perturbed: Whether the parameters are at the worst point, between `first_step` and `second_step`.

    The wrapper has the interface of the inner optimizer: parameters, groups, hyperparameters, ``t``, ``skipped``,
    measures and state are those of the inner optimizer, and assignments go to it. Weight decay, clipping, ``ema_decay``
    and ``on_nonfinite`` apply once, in the inner step, to the second gradient. A rule that uses the loss, such as
    `PolyakSGD`, gets the loss of the second closure, which belongs to its gradient. A group with ``maximize=True`` is
    perturbed downhill. If a first gradient is not finite, nothing is perturbed. Parameters in half precision are
    perturbed with stochastic rounding, because rounding to nearest would lose most entries of the perturbation.

    Keeps nothing between steps; during a step, a copy of the parameters, and of the buffers of ``model``.

    Raises:
        TypeError: ``optimizer`` is not an optimizer, or is `LBFGS`; ``model`` is not a module, or another argument has
            the wrong type.
        ValueError: ``rho`` or ``eta`` is out of its range.

    Source: Foret, Kleiner, Mobahi and Neyshabur, *Sharpness-Aware Minimization for Efficiently Improving
    Generalization*, ICLR 2021, Algorithm 1; with ``adaptive``, Kwon, Kim, Park and Choi, *ASAM: Adaptive
    Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks*, ICML 2021. The defaults are the
    papers'. Differs from pytorch_optimizer, which computes ``n`` in float32 and has no ``eta`` (0).

    >>> from minima import Tensor
    >>> from minima.optim import SAM, SGD
    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> optimizer = SAM(SGD([w], lr=0.25), rho=0.5)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    25.0
    >>> w
    Tensor([1.35, 1.8 ], requires_grad=True)
    """

    rho: float = checked(number)
    adaptive: bool = checked(flag)
    eta: float = checked(number)

    def __init__(
        self, optimizer: Any, rho: float = 0.05, adaptive: bool = False, eta: float = 0.01, *, model: Any = None
    ) -> None:
        who = type(self).__name__
        self._take(optimizer)
        if model is not None and not callable(getattr(model, "buffers", None)) or isinstance(model, type):
            raise TypeError(sentence(who, "model must be a module, which has buffers()", got=model))
        self.rho = rho
        self.adaptive = adaptive
        self.eta = eta
        self._model = model
        self._at_home: list[tuple[Any, Any]] | None = None
        """While parameters are perturbed, every tensor that has changed with a copy of what it was."""
        self._ascent: tuple[Stepper, int, Any] | None = None

    @property
    def is_perturbed(self) -> bool:
        """Whether the parameters are at the worst point, between `first_step` and `second_step`."""
        return self._at_home is not None

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None, measure: bool = False) -> Any:
        """Take a step with the gradients at the worst point nearby.

        Args:
            closure: A function that computes the gradients and returns the loss; called twice. After `first_step`, call
                without it: the call is then `second_step`, as ``GradScaler`` needs it.
            loss: The loss at the worst point, for ``on_nonfinite`` and for rules that use it; the return value of
                ``closure`` replaces it.
            measure: As for the inner optimizer.

        Returns:
            The first return value of ``closure``, which is the loss at the parameters, or else ``loss``.

        Raises:
            TypeError: There is no ``closure`` and the parameters are not perturbed, or the rule needs the loss and
                ``closure`` does not return it.
            RuntimeError: There is a ``closure``, but the parameters are perturbed. Nothing was changed.

        If the closure or the inner optimizer raises an error, the parameters are restored.
        """
        who = f"{type(self).__name__}.step"
        if closure is None:
            if not self.is_perturbed:
                rule = "needs a closure that computes the loss and its gradients anew, and is called twice"
                hint = "pass step(closure), or call first_step() and compute the gradients again before"
                raise TypeError(sentence(who, rule, hint=hint))
            return self._second_step(loss, measure)
        if not callable(closure):  # what users pass is not typed
            rule = "closure must be a function that computes the loss and its gradients"
            raise TypeError(sentence(who, rule, got=cast(object, closure)))
        self._require_home(who)
        self._require_own()
        with self._face.grad_enabled():
            result = closure()
        try:
            self.first_step(zero_grad=True)
            with self._face.grad_enabled():
                loss = closure()
        finally:
            self.restore()
        has_rule = self._innermost.rule is not None  # a step of others may take no loss
        self._inner.step(**self._given(loss if has_rule else None, measure))
        return result

    def first_step(self, zero_grad: bool = False) -> None:
        """Move the parameters to the worst point nearby, along the current gradients; then compute the gradients there.

        Args:
            zero_grad: Whether to drop the gradients afterwards. Raises: RuntimeError: The parameters are there already,
                or do not hold the weights to train. Nothing was changed.
        """
        who = f"{type(self).__name__}.first_step"
        flag(who, "zero_grad", zero_grad)
        self._require_home(who)
        stepper, face = self._require_own(), self._face
        ascent = self._current_ascent(stepper)
        buffers = [] if self._model is None else list(cast(Iterable[Any], self._model.buffers()))
        moved = [member.tensor for member in stepper.members if member.tensor.grad is not None]
        at_home = [(tensor, face.copied(tensor)) for tensor in (*moved, *buffers)]
        try:
            self._at_home = at_home
            ascent.step()
        except BaseException:
            self.restore()
            raise
        if zero_grad:
            self.zero_grad()

    def second_step(self, zero_grad: bool = False) -> None:
        """Restore the parameters, and take the inner step with the current gradients.

        Args:
            zero_grad: Whether to drop the gradients afterwards.

        Raises:
            RuntimeError: There was no `first_step`. Nothing was changed.
        """
        who = f"{type(self).__name__}.second_step"
        flag(who, "zero_grad", zero_grad)
        if not self.is_perturbed:
            raise RuntimeError(sentence(who, "the parameters are not perturbed", hint="call first_step() before"))
        self._second_step(None, False)
        if zero_grad:
            self.zero_grad()

    def _second_step(self, loss: Any, measure: bool) -> Any:
        self.restore()
        self._inner.step(**self._given(loss, measure))
        return loss

    def restore(self) -> None:
        """Restore parameters and buffers bit for bit, without a step; without a perturbation, do nothing.

        For code that skips the second step, such as ``GradScaler`` after an overflow.
        """
        with uninterrupted():
            while self._at_home:
                self._face.write(*self._at_home[-1])
                self._at_home.pop()
            self._at_home = None

    def train(self) -> None:
        """Put the training weights into the parameters, as `Optimizer.train` does.

        Raises:
            RuntimeError: The parameters are perturbed.
        """
        self._require_home(f"{type(self).__name__}.train")
        self._inner.train()

    def eval(self) -> None:
        """Put the weights to evaluate into the parameters, as `Optimizer.eval` does.

        Raises:
            RuntimeError: The parameters are perturbed.
        """
        self._require_home(f"{type(self).__name__}.eval")
        self._inner.eval()

    def averaged(self) -> Any:
        """Within ``with optimizer.averaged():`` the parameters hold the averages of the inner optimizer.

        Raises:
            RuntimeError: The parameters are perturbed.
        """
        self._require_home(f"{type(self).__name__}.averaged")
        return self._inner.averaged()

    def _require_home(self, who: str) -> None:
        if self.is_perturbed:
            hint = "call second_step(), or restore()"
            raise RuntimeError(sentence(who, "the parameters are perturbed", hint=hint))

    def _require_own(self) -> Stepper:
        """What steps the parameters, which must hold the weights to train."""
        stepper = self._stepper()
        if self._innermost.rule is not None:  # nobody else lends
            stepper.require_own()
        return stepper

    def _current_ascent(self, stepper: Stepper) -> Any:
        """The ascent for the parameters, groups and hyperparameters that there are now."""
        optimizer, many = self._innermost, len(stepper.members)
        if self._ascent is None or self._ascent[0] is not stepper or self._ascent[1] != many:
            self._ascent = stepper, many, self._face.beside(optimizer, Ascent)
        ascent = self._ascent[2]
        for name in ("rho", "eta", "adaptive"):
            if getattr(ascent, name) != getattr(self, name):
                setattr(ascent, name, getattr(self, name))
        for group, own in zip(optimizer.param_groups, ascent.param_groups, strict=True):
            if (maximize := group.get("maximize", False)) != own["maximize"]:
                own["maximize"] = maximize
        counts, clock = stepper.clock.counts, self._face.stepper(ascent).clock
        if (clock.counts != counts).any():  # what stochastic rounding depends on, after a checkpoint too
            clock.set(range(many), counts.tolist())
        return ascent

    def _own(self, *, copies: bool) -> dict[str, Any]:
        return self._own_hypers()

    def _own_hypers(self) -> dict[str, Any]:
        return {"rho": self.rho, "adaptive": self.adaptive, "eta": self.eta}

    def _prepare_own(
        self, who: str, given: Mapping[str, Any], state_dict: Mapping[str, Any], *, strict: bool
    ) -> Callable[[], None]:
        rho, eta = number(who, "rho", given["rho"]), number(who, "eta", given["eta"])
        adaptive = flag(who, "adaptive", given["adaptive"])

        def take_over() -> None:
            self.rho, self.adaptive, self.eta = rho, adaptive, eta

        return take_over

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_ascent": None}
