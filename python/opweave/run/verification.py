"""A plan run on processes, held against the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from opweave.capture.torch_trace import without_onednn
from opweave.run.errors import VerificationError
from opweave.run.launcher import launch
from opweave.run.measure import unchanged
from opweave.run.traced import TracedModel
from opweave.run.traced_module import seed_of_draw

# Rounding differs with the order of additions: of microbatches, and inside of kernels with their threads.
_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
# Of the largest gradient of the model: sums that cancel (a bias before a normalisation) keep the rounding of what they
# are sums of.
_FLOOR = 0.05


@dataclass(frozen=True)
class Verification:
    """A step of a plan on processes that has the losses and gradients of the model itself."""

    devices: tuple[str, ...]
    """One process each."""
    tolerance: float
    losses: tuple[float, ...]
    """By microbatch, as the processes computed them."""
    differences: dict[str, float]
    """Of the gradient of every parameter: the largest difference of an element, divided by the largest element of that
    gradient, or by a twentieth of the largest of all gradients if that is more."""

    @property
    def largest(self) -> float:
        """The largest difference of all gradients."""
        return max(self.differences.values(), default=0.0)


def verify(
    model: nn.Module,
    plan: Any,
    batch: Sequence[Any] | Mapping[str, Any],
    *,
    target: Any = None,
    loss: Callable[..., Any] | None = None,
    graph: Any = None,
    tolerance: float | None = None,
    seed: int = 0,
    timeout_s: float = 300.0,
) -> Verification:
    """Run one iteration of a plan of a captured model on this machine, a gloo process per device, and compare it with
    the model itself: the loss of every microbatch, the gradient of every parameter, and the buffers that change.

    Arguments as for TracedModel, which runs it. Random numbers (dropout) are the same on both sides: each call that
    draws some has a seed of its own, made of *seed*, the microbatch and its place in the step. The model is left as it
    was. Not for a process that has used a GPU, since processes are forked.

    *tolerance*: of every difference relative to the largest element of the gradient (see Verification); None takes that
    of the coarsest format among the parameters: 1e-10 (fp64), 1e-5 (fp32), 0.01 (fp16), 0.05 (bf16).

    Raises VerificationError for a loss, gradient or buffer that differs, naming it and the difference; ProgramError and
    CaptureError as TracedModel, before any process is started; LaunchError for a process that fails.
    """
    traced = TracedModel(model, plan, batch, target=target, loss=loss, graph=graph)
    if tolerance is None:
        tolerance = default_tolerance(model)
    count, devices = traced.program.microbatches, traced.program.devices

    def run(rank: int) -> tuple[dict[int, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        for parameter in model.parameters():
            parameter.grad = None
        found = traced.step(seed=seed, timeout_s=timeout_s)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        return found.losses, gradients, traced.changed_buffers()

    ranks = launch(run, len(devices), timeout_s=timeout_s, start_method="fork")
    # As it was traced: without oneDNN, whose recurrent layers draw and add in another order.
    with unchanged([model]), without_onednn():
        expected = []
        for b in range(count):
            with _drawing(seed, b):
                value = traced.microbatches.loss_of(model, traced.loss, b)
                (value / count).backward()
            expected.append(float(value.detach()))
        losses = {b: value for found, _, _ in ranks for b, value in found.items()}
        compare_losses([float(losses[b]) for b in range(count)], expected, tolerance)
        differences = compare_gradients(model, [gradients for _, gradients, _ in ranks], devices, tolerance)
        _compare_buffers(model, [buffers for _, _, buffers in ranks], devices, tolerance)
    return Verification(devices, tolerance, tuple(float(losses[b]) for b in range(count)), differences)


def default_tolerance(model: nn.Module) -> float:
    """That of the coarsest format among the parameters that learn."""
    return max(_TOLERANCES.get(p.dtype, 0.0) for p in model.parameters() if p.requires_grad)


def compare_losses(found: list[float], expected: list[float], tolerance: float) -> None:
    """Raises VerificationError for the first microbatch whose loss differs by more than the tolerance."""
    for b, (mine, right) in enumerate(zip(found, expected, strict=True)):
        if not abs(mine - right) <= tolerance * max(abs(right), 1.0):
            raise VerificationError(
                f"loss of microbatch {b} is {mine:.9g}, of the model itself {right:.9g}; expected a difference of at "
                f"most {tolerance:g}"
            )


def compare_gradients(
    model: nn.Module, ranks: list[dict[str, Tensor]], devices: Sequence[str], tolerance: float
) -> dict[str, float]:
    """Differences of *ranks*' gradients from those in *model*, as in Verification.differences; raises VerificationError
    for one above the tolerance."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    expected = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in learning.items()}
    floor = _FLOOR * max((_largest(gradient) for gradient in expected.values()), default=0.0)
    differences: dict[str, float] = {}
    where: dict[str, str] = {}
    scale: dict[str, float] = {}
    for name, right in expected.items():
        places = [rank for rank, gradients in enumerate(ranks) if name in gradients]
        scale[name] = max(_largest(right), floor if places else 0.0) or 1.0
        for mine in [ranks[rank][name] for rank in places] or [torch.zeros_like(right)]:
            difference = _largest(mine.double() - right.double()) / scale[name]
            if math.isnan(difference) or difference > differences.get(name, -1.0):
                differences[name] = difference
        where[name] = ", ".join(devices[rank] for rank in places) or "no device"
    wrong = [name for name, difference in differences.items() if not difference <= tolerance]
    if wrong:
        worst = max(wrong, key=lambda name: float("inf") if math.isnan(differences[name]) else differences[name])
        others = f"; {len(wrong) - 1} other parameters differ as well" if len(wrong) > 1 else ""
        raise VerificationError(
            f'gradient of "{worst}" on {where[worst]} differs from that of the model itself by '
            f"{differences[worst] * scale[worst]:.3g}, {differences[worst]:.3g} of {scale[worst]:.3g}; expected at "
            f"most {tolerance:g} of it{others}"
        )
    return differences


def _compare_buffers(
    model: nn.Module, ranks: list[dict[str, Tensor]], devices: Sequence[str], tolerance: float
) -> None:
    buffers = dict(model.named_buffers())
    for device, changed in zip(devices, ranks, strict=True):
        for name, mine in changed.items():
            right = buffers[name].double()
            difference = _largest(mine.double() - right)
            if not difference <= tolerance * max(_largest(right), 1.0):
                raise VerificationError(
                    f'buffer "{name}" on {device} differs from that of the model itself by {difference:.3g}, expected '
                    f"at most {tolerance:g}"
                )


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


class _Drawing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives every call that draws random numbers the seed that it has in a traced step.

    Checkpointing restores the state of the generator and calls again: a state that was met stands for the same call.
    """

    def __init__(self, seed: int, microbatch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed, self.microbatch = seed, microbatch
        self.met: dict[bytes, int] = {}  # states of the generator, with the number of the call

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            draw = self.met.setdefault(torch.get_rng_state().numpy().tobytes(), len(self.met))
            torch.manual_seed(seed_of_draw(self.seed, self.microbatch, draw))
            result = func(*args, **(kwargs or {}))
            torch.manual_seed(draw)  # a state for each call that comes after another one
            return result
        return func(*args, **(kwargs or {}))


@contextmanager
def _drawing(seed: int, microbatch: int) -> Iterator[None]:
    """What runs inside draws the random numbers of the pieces of a traced step for this microbatch."""
    with torch.random.fork_rng(devices=[]), _Drawing(seed, microbatch):
        yield
