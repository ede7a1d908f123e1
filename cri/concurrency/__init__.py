"""Structured concurrency: supervised tasks, single flight, undo stacks. Knows nothing of CRI or containerd."""
