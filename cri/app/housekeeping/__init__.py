"""`cri-shim gc`, `check` and `df`: what is left over, what contradicts itself, what takes the disk.

A running server is asked over its admin socket, because it alone knows what is under way. Where none runs, the same
work is done here, on an index that is filled from containerd and thrown away.
"""
