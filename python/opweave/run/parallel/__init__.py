"""Plans on groups of ranks: tensor, data, expert, context and pipeline parallelism at once. See
docs/running-strategies.md."""
