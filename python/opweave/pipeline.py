"""From layers with measured times to a pipeline over devices."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from opweave import _core
from opweave.amounts import Amount, to_bytes
from opweave.cluster import Cluster
from opweave.document import read_text
from opweave.graph import Graph


class Pipeline:
    """Layers in forward order, to be cut into stages and laid on devices.

    >>> pipeline = Pipeline("small", microbatches=8)
    >>> pipeline.add_layer("block", [{"name": "mlp", "forward_ns": 400, "input_gradient_ns": 400,
    ...                               "weight_gradient_ns": 400}], repeat=8, activation_bytes=100)
    >>> graph, cluster = pipeline.build(devices=4, shape="V", activations=4)
    """

    def __init__(
        self,
        name: str = "pipeline",
        *,
        microbatches: int = 1,
        gradient_bytes_per_weight_byte: float = 0,
        optimizer_bytes_per_weight_byte: float = 0,
    ) -> None:
        """An empty pipeline. The factors say what a device keeps per byte of weights (bf16 Adam: 1 and 6)."""
        self.spec: dict[str, Any] = {
            "format": "opweave.pipeline",
            "version": 1,
            "name": name,
            "training": {
                "microbatches": microbatches,
                "gradient_bytes_per_weight_byte": gradient_bytes_per_weight_byte,
                "optimizer_bytes_per_weight_byte": optimizer_bytes_per_weight_byte,
            },
            "layers": [],
        }

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Pipeline:
        """Read a pipeline specification (docs/formats.md). What is wrong with it is found by build()."""
        pipeline = cls(os.fspath(path))
        try:
            pipeline.spec = json.loads(read_text(path))
        except ValueError as error:
            raise _core.InputError(f"{os.fspath(path)}: {error}") from None
        return pipeline

    def add_layer(self, name: str, operators: Sequence[Mapping[str, Any]], **options: Any) -> Pipeline:
        """Append a layer, or with ``repeat=n`` that many equal ones; returns the pipeline.

        Keys of *operators* (name, kind, streams, forward_ns, input_gradient_ns, weight_gradient_ns) and *options*
        (repeat, weights_bytes, activation_bytes, output_bytes, ...) are those of docs/formats.md.
        """
        self.spec["layers"].append({"name": name, "operators": [dict(op) for op in operators], **options})
        return self

    @property
    def layer_count(self) -> int:
        """Number of layers, repeated ones counted."""
        return sum(layer.get("repeat", 1) for layer in self.spec["layers"])

    def build(
        self,
        *,
        devices: int | None = None,
        on: Cluster | None = None,
        shape: str = "linear",
        stages: int | None = None,
        cut: str | Sequence[int] | None = None,
        schedule: str | None = None,
        memory: Amount | None = None,
        activations: float | None = None,
        latency_ns: int = 0,
        bandwidth_bytes_per_s: int | None = None,
    ) -> tuple[Graph, Cluster]:
        """The graph of the pipeline, and a cluster for it: of equal devices, or the one that is given.

        Args:
            devices: Number of equal devices.
            on: Instead: the devices of this cluster, in its order. Times by type of device are then looked up, and
                memory, activations, latency and bandwidth are the cluster's.
            shape: "linear", "V" (two stages per device, there and back), "loop" (stage s on device s mod devices),
                "two-way" (two copies of every parameter, one per direction) or "free" (the planner places the layers).
            stages: Number of stages; None means one per device, for V and loop two, for free one per layer.
            cut: Layers of each stage, as numbers or as a layout of Megatron-LM ("Et*3|(tt|)*29,m|L"). None: the busiest
                device has as little to do as possible, then the longest stage (docs/cuts.md).
            schedule: Published schedule under which the cut is to be best, instead of *cut*.
            memory: Capacity of a device, in bytes or as a text such as "80GiB"; None means unlimited.
            activations: Instead of *memory*: the parameters and this many activations. One activation is what a
                microbatch keeps for its backward in 1/devices of the model.
            latency_ns, bandwidth_bytes_per_s: Between any two devices.

        Raises InputError.
        """
        if (devices is None) == (on is None):
            raise _core.InputError("expected one of devices and on")
        if on is not None and (
            memory is not None or activations is not None or latency_ns or bandwidth_bytes_per_s is not None
        ):
            raise _core.InputError("on is given with memory, activations, latency_ns or bandwidth_bytes_per_s")
        if memory is not None and activations is not None:
            raise _core.InputError("memory and activations are both given, expected one of them")
        if cut is not None and (stages is not None or schedule is not None):
            raise _core.InputError("cut is given together with stages or schedule, expected one of them")
        layout = cut if cut is None or isinstance(cut, str) else ",".join(str(int(count)) for count in cut)
        spec = json.loads(json.dumps(self.spec))
        training = spec.setdefault("training", {})
        training.pop("replica_of_microbatch", None)
        if shape != "free":
            training["replicas"] = 2 if shape == "two-way" else 1
        streams = dict.fromkeys(
            ["compute"]
            + [stream for layer in spec["layers"] for op in layer["operators"] for stream in op.get("streams", ())]
        )

        def cluster(capacity: int | None) -> Cluster:
            return Cluster.uniform(
                devices or 0,
                memory=capacity,
                streams=list(streams),
                latency_ns=latency_ns,
                bandwidth_bytes_per_s=bandwidth_bytes_per_s,
            )

        def build(content: dict[str, Any], target: Cluster) -> Graph:
            name = content.get("name", "pipeline")
            return Graph(_core.build_pipeline(json.dumps(content), name, shape, stages, layout, schedule, target._core))

        if on is not None:
            return build(spec, on), on
        unlimited = cluster(None)
        graph = build(spec, unlimited)
        capacity = None if memory is None else to_bytes(memory, "memory")
        if activations is not None:
            equal = graph
            if spec.pop("microbatch_scales", None) is not None:
                equal = build(spec, unlimited)
            capacity = _core.memory_for_activations(equal._core, unlimited._core, activations)
        return graph, cluster(capacity)
