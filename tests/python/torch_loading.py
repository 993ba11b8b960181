"""PyTorch's own loader of pipeline schedules, asked what it makes of our files."""

import re
import tempfile

import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import _PipelineScheduleRuntime
from torch.testing._internal.distributed.fake_pg import FakeStore


def loaded_by_torch(program, text, dialect="compute_only"):
    """What every rank computes, in its order, after the file was loaded and messages were added to it."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=program.processes)
    try:
        mine = [i for i, name in enumerate(program.segments) if program.segments[name].homes[0] == 0]
        stages = [PipelineStage(nn.Identity(), i, len(program.segments), "cpu") for i in mine]
        runtime = _PipelineScheduleRuntime(stages, program.microbatches, loss_fn=len)
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(text)
            file.flush()
            runtime._load_csv(file.name, format=dialect)
        ranks = [runtime.pipeline_order_with_comms[rank] for rank in range(program.processes)]
    finally:
        dist.destroy_process_group()
    cells = [[str(action) for action in rank if action is not None] for rank in ranks]
    return [[cell for cell in rank if re.fullmatch(r"\d+[FBIW]\d+", cell)] for rank in cells]
