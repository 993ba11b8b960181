"""Models: what a training run trains, as far as its time and memory depend on it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from opweave import _core
from opweave.document import Input, read_text


class Model(Input[_core.Model]):
    """Layers between an embedding and a head, and the components that feed them (docs/models.md).

    Made by from_transformers, or by from_json, from_file and from_dict in the format of docs/formats.md. Immutable and
    checked.
    """

    _kind = "model"

    @staticmethod
    def _parse(text: str, source: str) -> _core.Model:
        return _core.parse_model(text, source)

    @classmethod
    def from_transformers(
        cls, config: Mapping[str, Any] | str | os.PathLike[str] | Any, *, with_prediction_modules: bool = False
    ) -> Model:
        """The model of a configuration of Hugging Face transformers.

        Args:
            config: Path of a config.json or of a folder with one, its content, a configuration object of transformers,
                or a module of transformers, whose configuration is taken.
            with_prediction_modules: Also the modules that predict further ahead (``num_nextn_predict_layers``), which
                transformers leaves out.

        Raises InputError naming an architecture or a field that is not known: nothing is guessed.
        """
        text, source = _config_text(config)
        return cls(_core.parse_hf_config(text, source, with_prediction_modules))

    @classmethod
    def from_module(cls, module: Any, example_inputs: Sequence[Any]) -> Model:
        """The model that an nn.Module is: a stack of equal transformer blocks, with or without embedding and head.

        Args:
            module: Any, not only of transformers. It is traced once, without values; its weights are not read.
            example_inputs: Positional arguments of its forward pass, for example ``(ids,)`` of shape (1, tokens).

        Attention is ``scaled_dot_product_attention``, or written out with a softmax, which counts as not causal. Raises
        InputError, naming the module, for anything that is no such stack (experts, several widths, blocks that run
        twice): nothing is guessed.
        """
        from opweave.modules import describe

        return cls.from_dict(describe(module, example_inputs), type(module).__name__)

    @staticmethod
    def known_architectures() -> list[str]:
        """Values of ``model_type`` that from_transformers knows."""
        return _core.known_hf_models()

    @property
    def parameters(self) -> int:
        """Number of all weights, tied ones once, as transformers counts them."""
        return self._core.parameters

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Runs of equal layers, keys as in the file. Do not change them; see to_dict."""
        layers: list[dict[str, Any]] = self._content["layers"]
        return layers

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.parameters / 1e9:.2f} billion parameters)"


def to_model(model: Model | Mapping[str, Any] | str | os.PathLike[str] | Any, tokens: int | None = None) -> Model:
    """A Model as it is; a file or dictionary in our format or in that of transformers; a configuration or a module.

    A module without a configuration of transformers is traced with *tokens* tokens of one sequence.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, Mapping) and "model_type" not in model:
        return Model.from_dict(model)
    if isinstance(model, (str, os.PathLike)) and not os.path.isdir(model):
        text = read_text(model)
        if '"opweave.model"' in text:
            return Model.from_json(text, os.fspath(model))
    config = getattr(model, "config", model)
    is_of_transformers = hasattr(config, "model_type") or isinstance(config, (Mapping, str, os.PathLike))
    if hasattr(model, "named_parameters") and not is_of_transformers and tokens is not None:
        return _of_tokens(model, tokens)
    return Model.from_transformers(model)


def _of_tokens(module: Any, tokens: int) -> Model:
    """The model of a module that takes tokens of text alone."""
    import torch

    from opweave.errors import CaptureError

    try:
        return Model.from_module(module, (torch.zeros(1, tokens, dtype=torch.long),))
    except CaptureError as error:
        raise _core.InputError(
            f"model: {type(module).__name__} does not run on ids of shape (1, {tokens}): {error}"
            "\nhint: model=opweave.Model.from_module(module, example_inputs) takes others"
        ) from None


def _config_text(config: Mapping[str, Any] | str | os.PathLike[str] | Any) -> tuple[str, str]:
    """JSON and its name in errors."""
    if isinstance(config, (str, os.PathLike)):
        path = os.path.join(config, "config.json") if os.path.isdir(config) else config
        return read_text(path), os.fspath(path)
    config = getattr(config, "config", config)  # of a module
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    if not isinstance(config, Mapping):
        raise _core.InputError(
            f"config: value is a {type(config).__name__}, expected a path, a dictionary, a configuration of "
            "transformers or a module that has one"
        )
    return json.dumps(_finite(config), default=str), "config"


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON cannot say: open ends of ranges, such as those of a step's length."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
