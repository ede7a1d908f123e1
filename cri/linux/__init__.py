"""The only place with system calls: mounts, namespaces, FIFOs, processes, cgroups. Knows nothing of CRI."""
