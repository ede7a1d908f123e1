"""`cri-shim pod`: runs pods from Kubernetes manifests through the CRI socket only. A client like crictl.

It is no kubelet: nothing is restarted, probed or scheduled. It knows nothing of the server's own modules.
"""
