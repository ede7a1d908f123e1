"""Unit tests. Mirrors `api` and `cri`; `double` is an in-memory containerd."""
