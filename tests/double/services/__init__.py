"""containerd's services, one a file."""
