"""`cri-shim image`: pulls, lists and removes images through the CRI socket, imports and exports archives of them.

CRI has no calls for archives, nor for how far a pull is; for these the containerd that the server uses is asked.
"""
