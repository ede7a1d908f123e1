"""How a sandbox's namespaces are held from RunPodSandbox to StopPodSandbox.

    by a process     a container with a task, whose process only waits and is in all the namespaces (`process`)
    by mounts        the pins of namespaces that a thread has made; no task, no snapshot, no shim (`mounts`)

The sandbox is its record in both cases, and the record says which one it is (`cri.state.pins`); `choice` decides it
when the sandbox is made, by a rule that stands there. All that differs is behind `holder.Holder`. Its containers join
the namespaces where `Sandbox.namespaces` says.
"""
