"""Why a model cannot be traced: the module and the line of its code."""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from opweave.errors import CaptureError


@contextmanager
def quiet() -> Iterator[None]:
    """Errors of tracing are raised; what torch logs of them would only repeat them."""
    logger = logging.getLogger("torch")
    disabled = logging.root.manager.disable
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    logging.disable(max(disabled, logging.ERROR))
    try:
        yield
    finally:
        logging.disable(disabled)
        logger.setLevel(level)


def explained(
    error: Exception, step: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], mode: FakeTensorMode
) -> CaptureError:
    """The error of tracing, with the module that it comes from (the one in which a run on fake tensors ends) and the
    line of code, as that run or dynamo names it."""
    path: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: path.append(name)

    def leave(*_: Any) -> None:
        path.pop()

    hooks = []
    for name, module in step.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave))
    try:
        with mode, quiet():
            step(*args, **kwargs)
        path.clear()  # it runs, so nothing is known but what dynamo says
    except Exception as failure:
        if depends_on_data(failure) or not depends_on_data(error):
            error = failure
    finally:
        for hook in hooks:
            hook.remove()
    name = re.sub(r"^model(\.|$)", "", path[-1] if path else "")
    where = f'module "{name}"' if name else "the model"
    place = f" ({place_of(error)})" if place_of(error) else ""
    if depends_on_data(error):
        return CaptureError(
            f"{where}: it branches on the values of tensors, which have none while it is captured{place}"
            "\nhint: capture a version whose control flow depends on shapes alone"
        )
    return CaptureError(f"{where}: {type(error).__name__}: {first_line(error)}{place}")


def place_of(error: Exception) -> str:
    """File and line of the model's code in which it arose: "transformers/models/dbrx/modeling_dbrx.py:300"; or ""."""
    frames = [(frame.filename, str(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)]
    frames += re.findall(r'File "(.+?)", line (\d+)', str(error))
    ours = [os.path.realpath(os.path.dirname(path)) for path in (torch.__file__, os.path.dirname(__file__))]
    for file, line in reversed(frames):
        if os.path.isfile(file) and not any(os.path.realpath(file).startswith(folder) for folder in ours):
            return f"{file.rpartition('site-packages' + os.sep)[2]}:{line}"
    return ""


def first_line(error: Exception) -> str:
    """The message in short; the class of the error if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def depends_on_data(error: Exception) -> bool:
    """Tracing ended because the values of tensors were needed."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return (
        any(name.startswith(("DataDependent", "GuardOnDataDependent", "DynamicOutputShape")) for name in names)
        or "data-dependent" in str(error).lower()
    )
