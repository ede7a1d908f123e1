"""What the end-to-end tests, the critest runner and the benchmark stand on. No test, no measurement."""
