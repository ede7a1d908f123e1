"""The server in a container of containerd's own, for nodes on which nothing may be installed.

The kubelet cannot start the runtime that it needs for starting anything, so no static pod or DaemonSet can keep the
server up by itself. containerd can: its restart monitor (`containerd.io/restart.status`) starts a container again
whenever it does not run, after a crash and after a reboot. `keeping` makes that container, `specification` says what it
is. A pod may well call `cri-shim contained install`, and so bring the image to every node of a cluster.
"""
