"""What the server tells about itself: stages, Prometheus, structured logs, task dumps. Knows nothing of CRI objects."""
