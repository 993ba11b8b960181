"""Plans for captured models that use all devices: small models would stay on one."""

import random

import opweave


def spread(graph, devices, seed=None, **settings):
    """A plan of a captured graph with its blocks in a row on *devices*; with a seed, every operator anywhere. What has to
    share a device does."""
    content = graph.to_dict()
    cluster = opweave.Cluster.uniform(devices)
    stages = len({op["stage"] for op in content["operators"]})
    rng = random.Random(seed)
    place = {}  # of groups that share a device
    for op in content["operators"]:
        device = op["stage"] * devices // stages if seed is None else rng.randrange(devices)
        op["duration_ns"] = 1000 if seed is None else rng.randrange(2000)
        groups = [*op.get("parameters", ()), op.get("colocation", op["name"])]
        merged = set().union(*(place.get(group, (device, {group}))[1] for group in groups))
        first = next((place[group][0] for group in groups if group in place), device)
        for group in merged:
            place[group] = (first, merged)
    for op in content["operators"]:
        groups = [*op.get("parameters", ()), op.get("colocation", op["name"])]
        op["devices"] = [cluster.devices[place[groups[0]][0]]]
    wanted = graph._derived(content)
    return opweave.plan(wanted, cluster, work_limit=5, threads=1, progress=False, **settings)


def used_devices(plan):
    return {device for task in plan.tasks for device in task["devices"]}
