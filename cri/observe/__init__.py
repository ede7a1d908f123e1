"""What the server tells about itself: stages, Prometheus, structured logs, task dumps; no CRI objects."""
