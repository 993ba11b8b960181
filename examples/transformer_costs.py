"""Times and bytes of transformer layers, for the pipeline specifications of the branched examples.

Everything is analytic. Symbols: n tokens of a microbatch that pass the layer, h hidden size, q and k width of all
query heads and of all key heads, f width of the feed-forward network, c keys that a query attends to on
average (all s of a sequence, s / 2 with a causal mask, the window where there is one).

    weights   N = h q + 2 h k + q h + (3 if gated else 2) h f
    forward   F = 2 n N + 4 n c q        matrix products; scores and weighted sum of the attention
    inputs    I = 2 n N + 10 n c q       the attention's backward is 2.5 times its forward (FlashAttention-2, arXiv 2307.08691)
    weights   W = 2 n N
    time      = operations / (peak of the device x efficiency)

Bytes per token that stay for the backward, bf16, with norms and activation functions recomputed and no
attention matrix (after Korthikanti et al., arXiv 2205.05198):

    until W: inputs of the two norms 2 x 2h, of the output projection 2q, of the activation function 4f if gated, else 2f
    until I: queries, keys and values 2 (q + 2k), log-sum-exp of the attention 4 per head
    from I to W: gradients of every product's output 2 (q + 2k) + 2h + (4f if gated else 2f) + 2h
"""

import json
import pathlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """What one device computes."""

    peak_flops_per_s: float
    efficiency: float

    def ns(self, operations: float) -> int:
        """Nanoseconds for so many operations."""
        return round(operations / (self.peak_flops_per_s * self.efficiency) * 1e9)


@dataclass(frozen=True)
class Width:
    """The shape of a transformer layer."""

    hidden: int
    heads: int
    head_dim: int
    key_heads: int
    feed_forward: int
    gated: bool

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        return self.key_heads * self.head_dim

    @property
    def weights(self) -> int:
        """Parameters of the layer."""
        projections = 2 * self.hidden * self.query + 2 * self.hidden * self.key
        return projections + (3 if self.gated else 2) * self.hidden * self.feed_forward


def block(device: Device, name: str, repeat: int, width: Width, tokens: int, context: float, *,
          frozen_share: float | None = None) -> dict:
    """`repeat` transformer layers in a row. Frozen ones have a forward only and keep nothing; they have no gradients and
    no optimizer state either, but the factors of a specification hold for all its weights, so their bytes are
    entered as the `frozen_share` that the factors make whole again."""
    products = 2 * tokens * width.weights
    attention = 4 * tokens * context * width.query
    layer = {"name": name, "repeat": repeat, "operators": [{"name": "block", "kind": "transformer",
                                                            "forward_ns": device.ns(products + attention)}],
             "weights_bytes": 2 * width.weights, "output_bytes": 2 * tokens * width.hidden}
    if frozen_share is not None:
        layer["weights_bytes"] = round(layer["weights_bytes"] * frozen_share)
        return layer
    inner = (4 if width.gated else 2) * width.feed_forward
    queries_keys_values = 2 * (width.query + 2 * width.key)
    layer["operators"][0]["input_gradient_ns"] = device.ns(products + 2.5 * attention)
    layer["operators"][0]["weight_gradient_ns"] = device.ns(products)
    layer["activation_bytes"] = tokens * (4 * width.hidden + 2 * width.query + inner)
    layer["activation_until_input_gradient_bytes"] = tokens * (queries_keys_values + 4 * width.heads)
    layer["weight_gradient_input_bytes"] = tokens * (queries_keys_values + 4 * width.hidden + inner)
    return layer


def linear(device: Device, name: str, rows: int, inputs: int, outputs: int, *, input_gradient: bool = True,
           loss: bool = False) -> dict:
    """One matrix product of `rows` tokens (a projection, a head, patches to vectors). It keeps its input for W and,
    from I to W, the gradient of its output. `loss`: the output is consumed at once, its gradient (bf16) lives from
    F to W; nothing is sent on."""
    operations = 2 * rows * inputs * outputs
    operator = {"name": "linear", "kind": "matmul", "forward_ns": device.ns(operations)}
    if input_gradient:
        operator["input_gradient_ns"] = device.ns(operations)
    operator["weight_gradient_ns"] = device.ns(operations)
    layer = {"name": name, "operators": [operator], "weights_bytes": 2 * inputs * outputs,
             "activation_bytes": 2 * rows * (inputs + (outputs if loss else 0))}
    if input_gradient and not loss:
        layer["weight_gradient_input_bytes"] = 2 * rows * outputs
    if not loss:
        layer["output_bytes"] = 2 * rows * outputs
    return layer


def embedding(name: str, rows: int, entries: int, hidden: int) -> dict:
    """A table look-up: no operations worth counting, but weights; W scatters the gradient back."""
    return {"name": name, "operators": [{"name": "look-up", "kind": "embedding", "forward_ns": 0,
                                         "weight_gradient_ns": 0}],
            "weights_bytes": 2 * entries * hidden, "output_bytes": 2 * rows * hidden}


def component(name: str, inputs: list, *layers: dict) -> dict:
    """A branch; `inputs` are names of components, or (name, bytes)."""
    edges = [{"component": i} if isinstance(i, str) else {"component": i[0], "bytes": i[1]} for i in inputs]
    result = {"name": name}
    if edges:
        result["inputs"] = edges
    result["layers"] = list(layers)
    return result


def write(path: pathlib.Path, name: str, source: str, training: dict, components: list) -> None:
    """Writes an opweave.pipeline file, a component's layers one a line."""
    lines = ["{", '  "format": "opweave.pipeline",', '  "version": 1,', f'  "name": {json.dumps(name)},',
             f'  "source": {json.dumps(source)},', f'  "training": {json.dumps(training)},', '  "components": [']
    for i, part in enumerate(components):
        head = {key: value for key, value in part.items() if key != "layers"}
        lines.append("    " + json.dumps(head)[:-1] + ', "layers": [')
        layers = part["layers"]
        lines += ["      " + json.dumps(layer) + ("," if j + 1 < len(layers) else "") for j, layer in enumerate(layers)]
        lines.append("    ]}" + ("," if i + 1 < len(components) else ""))
    path.write_text("\n".join([*lines, "  ]", "}", ""]))
