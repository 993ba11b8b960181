"""Graphs of models: a training step of a PyTorch module (capture), an ONNX file (capture_onnx)."""

from __future__ import annotations

import inspect
import os
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opweave.arguments import expect, expect_count, expect_one_of
from opweave.capture.captured import CapturedGraph
from opweave.errors import CaptureError, InputError
from opweave.progress import Steps

if TYPE_CHECKING:
    from torch import nn

    from opweave.graph import Graph

__all__ = ["capture", "capture_onnx"]


def capture(
    model: nn.Module | Callable[[], nn.Module],
    example_inputs: Sequence[Any] | Mapping[str, Any],
    *,
    loss: Callable[..., Any] | None = None,
    target: Any = None,
    training: bool = True,
    granularity: str = "operator",
    optimizer: str | None = "adam",
    assumed_size: int | None = None,
    microbatches: int = 1,
    dtype: str | None = None,
    name: str | None = None,
    progress: bool | None = None,
) -> CapturedGraph:
    """Trace one training step of *model* on one microbatch and return its operators, tensors and parameters.

    Nothing is computed and no memory of the model's size is used: the step is traced on tensors without values. Shapes
    are those of *example_inputs*; capture again when the batch size changes.

    Args:
        model: A module (its tensors are only looked at; it may be on the meta device), or a function that builds one,
            which then never takes its memory.
        example_inputs: Arguments of the module for one microbatch: a sequence, or a mapping for keyword arguments.
        loss: From the output of the module to a scalar. Without it the gradients of the outputs are inputs.
        target: What the loss takes beside the output, for one microbatch: it is then loss(output, target), and the
            target an input of the graph.
        training: False leaves the backward pass and the optimizer out; the operators then have no phase.
        granularity: "operator": every tensor operator that does work. "module": an operator per visit of an innermost
            module and phase. "block": an operator per repeated block (children of lists and sequences, such as
            transformer layers) and phase, for planning whole models.
        optimizer: "adam", "adamw", "sgd" or None; gives operators of phase O and the memory for its state (fp32
            moments; weights in shorter formats also have an fp32 copy).
        assumed_size: Stands for every size that depends on data, for example tokens per expert.
        microbatches: Of one iteration; Graph.with_training changes it.
        dtype: "bf16", "fp16" or "fp32": all floating-point tensors of the model and its inputs are captured in it.
            None leaves them as they are; PyTorch makes fp32 unless told otherwise.
        name: Of the graph; None takes the class of the model.
        progress: Show on standard error or in the notebook what is being done and for how long; None shows it where
            somebody watches.

    Every operator has its module path as ``layer`` and the number of its block as ``stage``. Gradients are added
    to those of earlier microbatches where they are made: they are memory of the parameters, not tensors.

    Raises:
        CaptureError: The model cannot be traced, for example because it branches on the values of tensors; the message
            names the module.
        InputError: An argument is out of range.
    """
    try:
        from opweave.capture.step import graph_of, read_step
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CaptureError('capture needs PyTorch\nhint: pip install "opweave[torch]"') from error
    _check(model, example_inputs, loss, training, assumed_size, name)
    expect_one_of(granularity, ("operator", "module", "block"), "granularity")
    expect_one_of(optimizer, ("adam", "adamw", "sgd", None), "optimizer")
    expect_one_of(dtype, ("fp32", "bf16", "fp16", None), "dtype")
    expect_count(microbatches, "microbatches")
    with Steps("capture", progress) as steps:
        steps.begin("tracing the model")
        step = read_step(
            model,
            example_inputs,
            loss=loss,
            training=training,
            assumed_size=assumed_size,
            target=target,
            dtype=dtype,
        )
        steps.begin("joining calls to operators")
        graph = graph_of(
            step,
            granularity=granularity,
            training=training,
            optimizer=optimizer,
            microbatches=microbatches,
            name=name,
            loss=loss,
        )
    if graph.unread_parameters:
        count, first = len(graph.unread_parameters), graph.unread_parameters[0]
        warnings.warn(f"{count} parameters are never read, the first is {first}", stacklevel=2)
    if graph.parameters_without_gradient:
        count, first = len(graph.parameters_without_gradient), graph.parameters_without_gradient[0]
        warnings.warn(f"{count} parameters are read but get no gradient, the first is {first}: frozen", stacklevel=2)
    return graph


def _check(model: Any, example_inputs: Any, loss: Any, training: Any, assumed_size: Any, name: Any) -> None:
    """What capture takes, before it takes minutes."""
    from torch import Tensor, nn
    from torch.distributed.tensor import DTensor

    for path, parameter in model.named_parameters() if isinstance(model, nn.Module) else ():
        if isinstance(parameter, DTensor):
            raise InputError(
                f'model: parameter "{path}" is split over processes (a DTensor), expected the model of one process'
                "\nhint: capture it before parallelize_module or fully_shard"
            )
    if not isinstance(model, nn.Module) and not callable(model):
        expect(model, nn.Module, "model", "a torch.nn.Module, or a function that returns one")
    if isinstance(example_inputs, str):
        raise InputError("example_inputs: value is a text, expected a sequence of the arguments of the module")
    expect(example_inputs, (Sequence, Mapping, Tensor), "example_inputs", "a sequence or a mapping of arguments")
    if loss is not None and not callable(loss):
        raise InputError("loss: value is no function, expected one from the output of the module to a scalar")
    expect(training, bool, "training", "True or False")
    if assumed_size is not None:
        expect_count(assumed_size, "assumed_size")
    expect(name, (str, type(None)), "name", "a text")


def capture_onnx(
    path: str | os.PathLike[str], *, sizes: Mapping[str, int] | None = None, name: str | None = None
) -> Graph:
    """The graph of an ONNX file: the forward pass, an operator per node that does work.

    Weights are not read, only their shapes. Nodes that are views (Reshape, Squeeze, ...) or that compute shapes are no
    operators. Operations of matrix products, convolutions and attention are counted, the rest moves bytes.

    Args:
        path: The file. Data that it keeps in other files is not needed.
        sizes: Numbers for the symbolic dimensions of its inputs, by name.
        name: Of the graph; None takes that in the file.

    Raises InputError for a file that is no ONNX model, a dimension that is not bound, a tensor of unknown size, and for
    control flow.
    """
    expect(path, (str, os.PathLike), "path", "the path of a file")
    try:
        from opweave.capture.onnx_file import graph_of_file
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise CaptureError('capture_onnx needs the package onnx\nhint: pip install "opweave[onnx]"') from error
    return graph_of_file(path, sizes or {}, name)


class _Callable(types.ModuleType):
    """This module, which is the function, too: `opweave.capture(model, ...)`, `opweave.capture.capture_onnx(...)`."""

    __call__ = staticmethod(capture)
    __signature__ = inspect.signature(capture)


sys.modules[__name__].__class__ = _Callable
