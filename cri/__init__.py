"""The CRI server."""
