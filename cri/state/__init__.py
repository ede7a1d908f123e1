"""What the node holds: records as they stand in containerd, the live index, recovery after a restart.

Nothing here acts on a sandbox or a container; that is the business of `cri.sandbox` and `cri.container`.
"""
