"""The Python side of workers on other machines (docs/distributed.md).

``opweave sweep run ... --on ray`` runs `opweave.distributed.ray_workers`. Nothing imports Ray before.
"""
