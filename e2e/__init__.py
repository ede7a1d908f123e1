"""The real thing: containerd, runc, CNI plugins and a registry. Nothing here is imported by the product."""
