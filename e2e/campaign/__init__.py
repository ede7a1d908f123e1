"""Pods come and go while the server, and now and then containerd, are killed: nothing may get lost, nothing left.

    python -m e2e.campaign --server-kills 200 --containerd-kills 20

Several clients run pods with containers of known ends: some print counted lines and exit with a code of their own, some
run until they are stopped. They execute programs, pull and remove images, and call again whatever breaks, as the
kubelet does. Meanwhile the server is killed with SIGKILL at random moments. In the end:

    every container that ran has the exit code that its program gave
    every line that was printed is in the log exactly once
    `cri-shim gc` has removed what there was to remove, after which `cri-shim check` finds nothing, no address is
    reserved, and the node holds what it held before

    churn.py     the clients, and what they find lost
    kills.py     who dies when
    leaks.py     what is left in the end
    figures.py   what is counted
"""
