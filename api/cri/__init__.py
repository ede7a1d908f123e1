"""A small asyncio client of the Kubernetes CRI v1, for tools and tests; the messages are in `api.wire.criv1`."""

from api.cri.client import CriClient, CriError

__all__ = ["CriClient", "CriError"]
