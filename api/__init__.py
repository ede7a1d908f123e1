"""Python that speaks the wires: generated stubs (`api.wire`) and thin typed clients. Knows nothing of `cri`."""
