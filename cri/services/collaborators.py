"""What the servicers call: the domain, assembled once by `cri.app`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cri.observe.timelines import Timelines
from cri.services.admission import Admission

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cri.container.containers import Containers
    from cri.container.engine import Engine
    from cri.sandbox.engine import PodEngine
    from cri.sandbox.events import ContainerEvents
    from cri.sandbox.node_stats import NodeStats
    from cri.sandbox.node_status import Releases
    from cri.sandbox.observer import Observer
    from cri.sandbox.sandboxes import Sandboxes
    from cri.stream.server import StreamServer


@dataclass(frozen=True, slots=True)
class Collaborators:
    """The domain, as the servicers see it."""

    pods: PodEngine
    sandboxes: Sandboxes
    containers: Containers
    observer: Observer
    releases: Releases
    streams: StreamServer
    configuration: Callable[[], Mapping[str, object]]
    """The effective configuration as plain values, without secrets."""
    stats: NodeStats
    events: ContainerEvents
    timelines: Timelines = field(default_factory=Timelines)
    admission: Admission = field(default_factory=Admission)

    @property
    def engine(self) -> Engine:
        """What container operations work with."""
        return self.pods.engine
