"""Segments whose modules are parallel themselves: tensor parallel ones run, those that reduce gradients are refused."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import opweave  # noqa: E402
import parallel_models as words  # noqa: E402
import run_modules as blocks  # noqa: E402
import run_support as support  # noqa: E402
from opweave.run import Executor, ProgramError, compile_plan, launch  # noqa: E402


def wrapped(rank):
    """What the executor says to modules that reduce gradients themselves, outside and inside of a segment."""
    from torch.distributed._composable.replicate import replicate
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    graph = support.chain(2, 2)
    program = compile_plan(support.plan(graph, {"s0": 0, "s1": 0}, 1), graph)

    def inside(wrap):
        module = blocks.Block(0)
        module.up = wrap(module.up)
        return module

    cpu = torch.device("cpu")
    said = []
    for module in (
        torch.nn.parallel.DistributedDataParallel(blocks.Block(0)),
        inside(torch.nn.parallel.DistributedDataParallel),
        FullyShardedDataParallel(blocks.Block(0), device_id=cpu),
        fully_shard(blocks.Block(0), mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (1,))),
        inside(lambda part: fully_shard(part, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (1,)))),
        replicate(blocks.Block(0)),
    ):
        with pytest.raises(ProgramError) as error:
            Executor(program, {"s0": module, "s1": blocks.Block(1)})
        said.append(str(error.value))
    return said


def test_modules_that_reduce_gradients_themselves_are_refused_by_name():
    names = ["DistributedDataParallel"] * 2 + ["FullyShardedDataParallel"] + ["fully_shard"] * 2 + ["replicate"]
    for said, name in zip(launch(wrapped, 1, timeout_s=180, start_method="fork")[0], names, strict=True):
        assert said.startswith(f"segment 's0' is wrapped in {name}, which reduces gradients in the middle of a step")


def split_over(mesh, module, sequence=False, norm=True, **last):
    """The module with its two products split over the processes of a mesh; or what is between them, by the batch."""
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        PrepareModuleInput,
        RowwiseParallel,
        SequenceParallel,
        parallelize_module,
    )

    layout = {"up": ColwiseParallel(), "down": RowwiseParallel(**last)}
    if sequence:
        part = PrepareModuleInput(
            input_layouts=(Replicate(),), desired_input_layouts=(Shard(0),), use_local_output=True
        )
        parallelize_module(module, mesh, part)
        layout = {"up": ColwiseParallel(input_layouts=Shard(0)), "down": RowwiseParallel(output_layouts=Replicate())}
        layout |= {"norm": SequenceParallel(sequence_dim=0)} if norm else {}
    return parallelize_module(module, mesh, layout)


def tensor_parallel(rank, cases):
    """Two pipelines of two devices, whose modules are split over both; for every graph and plan, the largest error of
    their gradients, for both kinds of splitting and both of the backward, after two steps."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("pipeline", "split"))
    errors = []
    for (graph, plan), sequence, split in itertools.product(cases, (False, True), ("graph", "twice")):
        segments, reference = blocks.modules(graph), blocks.modules(graph)
        for module in segments.values():
            split_over(mesh["split"], module, sequence)
        x, target = blocks.batch(graph["training"]["microbatches"])
        group = mesh["pipeline"].get_group()
        executor = Executor(compile_plan(plan, graph), segments, group=group, split=split)
        for _ in range(2):
            executor.step(x, target, blocks.mse)
            blocks.one_process(graph, reference)
        mine = {name: segments[name] for name in executor.program.segments_on(executor.rank)}
        for parameter in [parameter for module in mine.values() for parameter in module.parameters()]:
            if isinstance(parameter, DTensor):
                assert parameter.grad.placements == parameter.placements
                whole = parameter.grad.full_tensor()
                parameter.grad, parameter.data = None, torch.zeros_like(whole)
                parameter.grad = whole
        errors.append(blocks.largest_error(mine, reference))
    return errors


def test_tensor_parallel_segments_have_the_gradients_of_one_process():
    cases = []
    for placement in ({"s0": 0, "s1": 1}, {"s0": [0, 1], "s1": [1, 0]}):
        graph = support.chain(2, 4)
        graph["training"]["replicas"] = 1 if placement["s0"] == 0 else 2
        cases.append((graph, support.plan(graph, placement, 2)))
    for errors in launch(tensor_parallel, 4, (cases,), timeout_s=180, start_method="fork"):
        assert len(errors) == 8
        assert max(errors) < 1e-5


def shared_vocabulary(rank):
    """The largest error of an embedding whose rows two processes share, and of the head, after each of three steps."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.parallel import parallelize_module

    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("pipeline", "split"))
    graph = support.graph({"embed": [], "head": ["embed"]}, 4)
    segments, reference = words.modules(graph), words.modules(graph)
    for name, plan in words.tensor_plans(segments, True).items():
        parallelize_module(segments[name], mesh["split"], plan)
    plan = support.plan(graph, {"embed": 0, "head": 0}, 1)
    executor = Executor(compile_plan(plan, graph), segments, group=mesh["pipeline"].get_group())
    x, target = words.batch(16)
    errors = []
    for _ in range(3):
        executor.step(x, target, words.loss)
        words.one_process(graph, reference, words.Case("", None, {}))
        for name, module in segments.items():
            for (path, mine), right in zip(module.named_parameters(), reference[name].parameters(), strict=True):
                assert isinstance(mine, DTensor) and mine.grad.placements == mine.placements, path
                error = (mine.grad.full_tensor() - right.grad).abs().max() / right.grad.abs().max()
                errors.append(float(error))
    return errors


def test_the_rows_of_an_embedding_may_be_shared_out():
    for errors in launch(shared_vocabulary, 2, timeout_s=60, start_method="fork"):
        assert len(errors) == 3 * 4
        assert max(errors) < 1e-5


def wrongly_split(rank):
    """What the executor says where split modules would wait for each other, or give wrong gradients."""
    from torch.distributed.device_mesh import init_device_mesh

    graph = support.chain(2, 4)
    x, target = blocks.batch(4)
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("pipeline", "split"))
    on_one = {"s0": 0, "s1": 0}
    said = []
    for placement, seed, group, options in (
        ({"s0": 0, "s1": 1}, 0, None, {}),
        (on_one, rank, mesh["pipeline"].get_group(), {}),
        (on_one, 0, mesh["pipeline"].get_group(), {"use_local_output": False}),
        (on_one, 0, mesh["pipeline"].get_group(), {"sequence": True, "norm": False}),
    ):
        devices = 2 if group is None else 1
        program = compile_plan(support.plan(graph, placement, devices, seed), graph)
        segments = {
            name: split_over(mesh["split"], module, **options) for name, module in blocks.modules(graph).items()
        }
        with pytest.raises(ProgramError) as error:
            Executor(program, segments, group=group).step(x, target, blocks.mse)
        said.append(str(error.value))
    return said


def test_modules_that_are_split_in_ways_that_cannot_run_are_refused_by_name():
    for rank, said in enumerate(launch(wrongly_split, 2, timeout_s=180, start_method="fork")):
        other = 1 - rank
        assert said[0].startswith(
            f"segment 's{rank}': parameter 'up.weight' is split with rank {other} of the same plan"
        )
        assert said[1].startswith(
            f"segment 's0': parameter 'up.weight' is split over processes {rank} and {other}, which have different plans"
        )
        assert said[2].startswith("segment 's0' returned tensor 's0:0' as a DTensor, expected a plain tensor")
        assert said[3].startswith("segment 's0': the gradient of 'norm.weight' differs from process to process")


def captured_split(rank):
    from torch.distributed.device_mesh import init_device_mesh

    model = split_over(init_device_mesh("cpu", (1,)), blocks.Block(0))
    with pytest.raises(opweave.InputError) as error:
        opweave.capture(model, (blocks.batch(1)[0],), loss=torch.sum)
    return str(error.value)


def test_a_model_that_is_split_already_is_not_captured():
    (said,) = launch(captured_split, 1, timeout_s=180, start_method="fork")
    assert said.startswith('model: parameter "up.weight" is split over processes (a DTensor)')
