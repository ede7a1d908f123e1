"""The OCI runtime spec from CRI messages: pure translation, one aspect a module.

`sandbox.sandbox_spec` and `container.container_spec` compose the aspects. Nothing here reads a file, makes a
system call or keeps state: what the kernel, the image or the file system say comes in as values (`HostFacts`,
`ImageDefaults`, `MountSource`, `HostDevice`, …). A request that cannot be honoured raises
`cri.errors.InvalidArgument` naming field, value and allowed range.
"""
