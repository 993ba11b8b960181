"""Asks the real packages of others what they make of our files: `framework_probe.py FOLDER`, a question per line as JSON
on standard input, an answer per line on standard output. Runs in a process of its own: what these packages import and this machine lacks (kernels,
loggers, data loaders) is replaced by names that do nothing, which nothing else may see."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
import typing
import warnings
from typing import Any

# As the files of arguments export it where activations go to the host.
os.environ["NVTE_CPU_OFFLOAD_V1"] = "1"

# Triton and others are asked for at import only; nothing of them takes part in reading arguments and configurations.
ABSENT = (
    "triton wandb datasets tokenizers einops PIL torch_checkpointing tensorboard torch.utils.tensorboard omegaconf"
    " transformers.modeling_attn_mask_utils transformer_engine megatron.energon diffusers modelopt"
    " cpuinfo hjson msgpack ninja pynvml psutil"
).split()


class _Name(type(typing.Protocol)):  # type: ignore[misc]
    """Any attribute, base class, decorator or value of a module that is not there."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(name, (), {})

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        if cls.__bases__ != (object,):
            return type.__call__(cls, *arguments, **options)
        return arguments[0] if arguments and callable(arguments[0]) else cls

    def __or__(cls, other: Any) -> Any:
        return cls

    __ror__ = __or__


class _Module(types.ModuleType):
    __path__: typing.ClassVar[list[str]] = []
    __version__ = "3.4.0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(name, (), {})


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if any(name == absent or name.startswith(absent + ".") for absent in ABSENT):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        return _Module(spec.name)

    def exec_module(self, module: Any) -> None:
        pass


def prepare(folder: str) -> None:
    """Makes the packages of the folder importable."""
    import torch._inductor.runtime.triton_compat  # knows how to do without triton, but not with a name for it
    import torch.distributed.pipelining.schedules  # noqa: F401  # before the names of others are there
    from typing_extensions import override

    typing.override = override  # type: ignore[attr-defined]  # of Python 3.12
    sys.meta_path.append(_Absent())
    sys.path.insert(0, folder)


def answer(ask: str, **question: Any) -> dict[str, Any]:
    """{"error": line} where the package refuses."""
    questions = {
        "versions": versions,
        "megatron_stages": megatron_stages,
        "megatron_arguments": megatron_arguments,
        "bridge_recipe": bridge_recipe,
        "bridge_settings": bridge_settings,
        "torchtitan_configuration": torchtitan_configuration,
        "torchtitan_stages": torchtitan_stages,
        "deepspeed_configuration": deepspeed_configuration,
    }
    try:
        return questions[ask](**question)
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def versions(names: list[str]) -> dict[str, Any]:
    """Versions of the packages in the folder."""
    from importlib.metadata import version

    return {name: version(name) for name in names}


def megatron_stages(layout: str, size: int, layers: int, predictions: int) -> dict[str, Any]:
    """Kinds of layers by stage, as the configuration of Megatron-Core has them."""
    from megatron.core.transformer.pipeline_parallel_layer_layout import PipelineParallelLayerLayout
    from megatron.core.transformer.transformer_config import TransformerConfig

    config = TransformerConfig(
        num_layers=layers,
        mtp_num_layers=predictions or None,
        hidden_size=8,
        num_attention_heads=1,
        pipeline_model_parallel_size=size,
        pipeline_dtype="bf16",
        pipeline_model_parallel_layout=layout,
    )
    made = config.pipeline_model_parallel_layout
    assert isinstance(made, PipelineParallelLayerLayout)
    chunks = made.virtual_pipeline_model_parallel_size
    return {
        "stages": [[kind.name for kind in made.layout[rank][chunk]] for chunk in range(chunks) for rank in range(size)]
    }


def megatron_arguments(arguments: list[str], world: int, connections: str | None = "1") -> dict[str, Any]:
    """What Megatron-LM makes of a command line: parsed, validated and turned into the configuration of the model."""
    import argparse

    import torch
    from megatron.training import arguments as theirs

    torch.cuda.get_device_capability = lambda *_: (9, 0)  # an H100's, to be asked about kernels
    torch.cuda.get_device_properties = lambda *_: types.SimpleNamespace(major=9, minor=0)
    os.environ.update(WORLD_SIZE=str(world), RANK="0")
    os.environ.pop("CUDA_DEVICE_MAX_CONNECTIONS", None)
    if connections:
        os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = connections
    parser = theirs.add_megatron_arguments(argparse.ArgumentParser(exit_on_error=False))
    args = parser.parse_args(arguments)
    args.rank, args.world_size = 0, world
    args = theirs.validate_args(args)
    config = theirs.core_transformer_config_from_args(args)
    layout = config.pipeline_model_parallel_layout
    chunks = config.virtual_pipeline_model_parallel_size or 1
    shown = {
        name: getattr(args, name)
        for name in (
            "tensor_model_parallel_size context_parallel_size expert_model_parallel_size data_parallel_size"
            " sequence_parallel global_batch_size micro_batch_size seq_length use_distributed_optimizer"
            " recompute_granularity recompute_method recompute_num_layers recompute_modules"
        ).split()
    }
    if layout is not None:
        shown["stages"] = [
            sum(kind.name == "decoder" for kind in layout.layout[rank][chunk])
            for chunk in range(chunks)
            for rank in range(config.pipeline_model_parallel_size)
        ]
    return shown


def bridge_recipe(path: str, world: int, model: dict[str, Any], connections: str | None = "1") -> dict[str, Any]:
    """What Megatron-Bridge makes of a recipe of ours on its own defaults, after its validation."""
    import importlib.util

    from megatron.bridge.models.gpt_provider import GPTModelProvider
    from megatron.bridge.recipes.common import _pretrain_common

    os.environ.update(WORLD_SIZE=str(world), RANK="0", LOCAL_RANK="0")
    os.environ.pop("CUDA_DEVICE_MAX_CONNECTIONS", None)
    if connections:
        os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] = connections
    spec = importlib.util.spec_from_file_location("recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = _pretrain_common()
    config.model = GPTModelProvider(**model)
    config.tokenizer.tokenizer_type, config.tokenizer.vocab_size = "NullTokenizer", 1000
    config = module.planned(config)
    # As runtime_config_update() does before it validates; the overlap of communication asks for GPUs.
    config.mixed_precision.finalize()
    config.mixed_precision.setup(config.model, config.optimizer, config.ddp)
    config.validate()
    layout = config.model.pipeline_model_parallel_layout
    chunks = config.model.virtual_pipeline_model_parallel_size or 1
    size = config.model.pipeline_model_parallel_size
    return {
        "data_parallel_size": config.data_parallel_size,
        "recompute_num_layers": config.model.recompute_num_layers,
        "stages": layout
        and [
            sum(kind.name == "decoder" for kind in layout.layout[rank][chunk])
            for chunk in range(chunks)
            for rank in range(size)
        ],
    }


def bridge_settings(module: str, recipe: str) -> dict[str, Any]:
    """What one of Megatron-Bridge's own recipes sets, on a model that is not looked up."""
    from types import SimpleNamespace

    class Provider(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return None

    found = importlib.import_module(f"megatron.bridge.{module}")
    bridge = SimpleNamespace(to_megatron_provider=lambda *_, **__: Provider())
    for other in list(sys.modules.values()):
        if other.__name__.startswith("megatron.bridge") and hasattr(other, "AutoBridge"):
            other.AutoBridge = SimpleNamespace(from_hf_pretrained=lambda *_, **__: bridge)  # type: ignore[attr-defined]
    config = getattr(found, recipe)()
    model = config.model
    pipeline = model.pipeline_model_parallel_size or 1
    return {
        "tensor": model.tensor_model_parallel_size or 1,
        "pipeline": pipeline,
        "chunks": (model.virtual_pipeline_model_parallel_size or 1) if pipeline > 1 else 1,
        "context": model.context_parallel_size or 1,
        "expert": model.expert_model_parallel_size or 1,
        "micro_batch": config.train.micro_batch_size,
        "global_batch": config.train.global_batch_size,
    }


def torchtitan_configuration(folder: str, function: str) -> dict[str, Any]:
    """The fields of a configuration that say how to train in parallel."""
    from dataclasses import asdict

    config = _torchtitan(folder, function)
    ac = config.activation_checkpoint
    return {
        "parallelism": asdict(config.parallelism),
        "training": asdict(config.training),
        "activation_checkpoint": ac and type(ac).__qualname__,
    }


def deepspeed_configuration(path: str, world: int) -> dict[str, Any]:
    """What DeepSpeed makes of its file."""
    os.environ.update(DS_ACCELERATOR="cpu")
    from deepspeed import comm
    from deepspeed.runtime.config import DeepSpeedConfig

    comm.get_rank, comm.get_world_size = lambda *_: 0, lambda *_: world  # what its processes would say
    with open(path, encoding="utf-8") as file:
        config = DeepSpeedConfig(json.load(file))  # given a path, it asks a reader of looser JSON
    return {
        "stage": config.zero_config.stage,
        "micro_batch": config.train_micro_batch_size_per_gpu,
        "accumulation": config.gradient_accumulation_steps,
        "world": config.world_size,
    }


def _torchtitan(folder: str, function: str) -> Any:
    from torchtitan.config.manager import ConfigManager

    sys.path.insert(0, folder)
    sys.modules.pop("opweave_config", None)
    importlib.invalidate_caches()
    try:
        return ConfigManager().parse_args(["--module", "opweave_config", "--config", function])
    finally:
        sys.path.remove(folder)


def torchtitan_stages(folder: str, function: str) -> dict[str, Any]:
    """Modules and actions of every rank, as torchtitan splits the model and loads the schedule."""
    import torch
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from torchtitan.distributed import pipeline_parallel

    config = _torchtitan(folder, function)
    size = config.parallelism.pipeline_parallel_degree
    with torch.device("meta"):
        model = config.model_spec.model.build()
    ranks: list[dict[str, Any]] = []
    for rank in range(size):
        dist.init_process_group("fake", rank=rank, world_size=size, store=FakeStore())
        mesh = dist.device_mesh.init_device_mesh("cpu", (size,), mesh_dim_names=("pp",))
        stages, _ = pipeline_parallel._pipeline_module_split(
            model,
            mesh,
            config.parallelism.pipeline_parallel_schedule,
            torch.device("cpu"),
            config.parallelism.module_fqns_per_model_part,
        )
        schedule = pipeline_parallel._build_pipeline_schedule(
            parallelism=config.parallelism,
            local_batch_size=config.training.local_batch_size,
            stages=stages,
            loss_fn=lambda *_: None,
        )
        ranks.append(
            {
                "stages": {
                    stage.stage_index: [
                        name
                        for name, child in stage.submod.named_modules()
                        if name.count(".") == ("layers." in name) and name != "layers" and name
                    ]
                    for stage in stages
                },
                "map": {str(stage): at for stage, at in stages[0].stage_index_to_group_rank.items()},
                "actions": _actions(schedule, rank),
            }
        )
        dist.destroy_process_group()
    return {"ranks": ranks, "cuda_graphs": not config.training.disable_cuda_graphs}


def _actions(schedule: Any, rank: int) -> list[str]:
    if hasattr(schedule, "pipeline_order"):
        return [str(action) for action in schedule.pipeline_order[rank] if action is not None]
    return [f"{rank}F{microbatch}" for microbatch in range(schedule._n_microbatches)]  # 1F1B in a class of its own


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    prepare(sys.argv[1])
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            text = json.dumps(answer(**json.loads(line)))
        print(text, flush=True)
