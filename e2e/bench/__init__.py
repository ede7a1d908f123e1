"""The same operations on containerd's own CRI plugin and on cri-shim, side by side, as medians and ratios.

Both run in this one process's care: two private containerd instances of the same binary, with the same runc, CNI
plugins, snapshotter and images. They take turns, and who begins alternates, so that whatever else the machine does
meanwhile hits both.
"""
