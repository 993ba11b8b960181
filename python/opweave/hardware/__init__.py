"""Named devices and the links between them, every number with its source. Users find them in opweave.costs."""
