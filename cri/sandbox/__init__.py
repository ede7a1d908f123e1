"""Pod sandboxes: run, stop, remove, status. A sandbox is its record and its pinned namespaces."""
