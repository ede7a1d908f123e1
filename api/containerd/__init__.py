"""containerd's client API for asyncio: a Client, a class for each noun, frozen dataclasses for the values.

One noun a file; `calls.py` has what they share, `errors.py` what they raise, `typed_value.py` the Any values.
Nothing here knows of Kubernetes, and nothing here decides: it is the wire with types.
"""

from api.containerd.calls import NO_DEADLINE, CallObserver
from api.containerd.client import Client
from api.containerd.containers import Container
from api.containerd.content import ContentExists, ContentInfo, Ingest
from api.containerd.content_writer import Writer
from api.containerd.descriptors import Descriptor
from api.containerd.errors import ContainerdError
from api.containerd.events import Event, Subscription
from api.containerd.images import Image
from api.containerd.introspection import Platform, Plugin, PluginInfo, ServerInfo
from api.containerd.leases import Lease, LeaseResource
from api.containerd.mounts import Mount
from api.containerd.namespaces import Namespace
from api.containerd.snapshots import SnapshotInfo, SnapshotKind, Snapshots, Usage
from api.containerd.tasks import Exit, Metric, Process, ProcessStatus
from api.containerd.typed_value import (
    LINUX_RESOURCES_TYPE_URL,
    PROCESS_TYPE_URL,
    SPEC_TYPE_URL,
    TypedValue,
    typed,
)
from api.containerd.version import Release

__all__ = [
    "LINUX_RESOURCES_TYPE_URL",
    "NO_DEADLINE",
    "PROCESS_TYPE_URL",
    "SPEC_TYPE_URL",
    "CallObserver",
    "Client",
    "Container",
    "ContainerdError",
    "ContentExists",
    "ContentInfo",
    "Descriptor",
    "Event",
    "Exit",
    "Image",
    "Ingest",
    "Lease",
    "LeaseResource",
    "Metric",
    "Mount",
    "Namespace",
    "Platform",
    "Plugin",
    "PluginInfo",
    "Process",
    "ProcessStatus",
    "Release",
    "ServerInfo",
    "SnapshotInfo",
    "SnapshotKind",
    "Snapshots",
    "Subscription",
    "TypedValue",
    "Usage",
    "Writer",
    "typed",
]
