"""Every Prometheus series of the server: names, help, labels, buckets; and the methods that feed them.

Metrics are defined here, in `cri.observe.upkeep` and (those read by callback) in `cri.observe.snapshots`, nowhere
else, so that dashboards and rules can be checked against one place. Names follow the Prometheus conventions
(base units, `_total` on counters) below the prefix `cri_shim_`. No label holds a pod, container or image name;
labels whose values come from outside go through `Capped`.

Code that measures calls the methods (`containerd_call`, `cni_call`, ...) and never sees a Prometheus object.
"""

from __future__ import annotations

import platform
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from cri.observe.capped import Capped, task_kind
from cri.observe.snapshots import PREFIX, Snapshots
from cri.observe.upkeep import Upkeep
from cri.observe.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cri.observe.stages import Operation

CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""RPCs from an index look-up to a slow stop, and calls of containerd."""
STAGE_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
PULL_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# Caps on label combinations, well above what an honest server has.
MOST_RPCS = 600
MOST_CONTAINERD_CALLS = 600
MOST_CNI_CALLS = 200
MOST_STAGES = 1000
MOST_NAMES = 100


class Metrics:
    """All series of one server, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # A `_created` series beside every counter and histogram would double the exposition.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True) if registry is None else registry
        self.snapshots = Snapshots()
        self._define_calls()
        self._define_stages()
        self._define_images()
        self._define_process()
        self.upkeep = Upkeep(self.registry)
        """What the janitor's rounds came to."""
        self.registry.register(self.snapshots)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _define_calls(self) -> None:
        registry = self.registry
        self._rpcs = Capped(
            Counter(
                f"{PREFIX}_rpcs",
                "CRI calls answered, by method and gRPC code.",
                ["method", "code"],
                registry=registry,
            ),
            MOST_RPCS,
        )
        self._rpc_seconds = Capped(
            Histogram(
                f"{PREFIX}_rpc_duration_seconds",
                "Time from the arrival of a CRI call to its answer.",
                ["method"],
                buckets=CALL_SECONDS,
                registry=registry,
            ),
            MOST_NAMES,
        )
        self._rpcs_in_flight = Capped(
            Gauge(
                f"{PREFIX}_rpcs_in_flight",
                "CRI calls that have not been answered.",
                ["method"],
                registry=registry,
            ),
            MOST_NAMES,
        )
        self._containerd_seconds = Capped(
            Histogram(
                f"{PREFIX}_containerd_call_duration_seconds",
                "Time of calls to containerd, successful or not.",
                ["service", "method"],
                buckets=CALL_SECONDS,
                registry=registry,
            ),
            MOST_CONTAINERD_CALLS,
        )
        self._containerd_errors = Capped(
            Counter(
                f"{PREFIX}_containerd_call_errors",
                "Calls to containerd that failed, by gRPC code.",
                ["service", "method", "code"],
                registry=registry,
            ),
            MOST_CONTAINERD_CALLS,
        )
        self._cni_seconds = Capped(
            Histogram(
                f"{PREFIX}_cni_duration_seconds",
                "Time of CNI plugin invocations.",
                ["plugin", "verb"],
                buckets=STAGE_SECONDS,
                registry=registry,
            ),
            MOST_CNI_CALLS,
        )
        self._cni_errors = Capped(
            Counter(
                f"{PREFIX}_cni_errors",
                "CNI plugin invocations that failed.",
                ["plugin", "verb"],
                registry=registry,
            ),
            MOST_CNI_CALLS,
        )

    def _define_stages(self) -> None:
        registry = self.registry
        self._operation_seconds = Capped(
            Histogram(
                f"{PREFIX}_operation_duration_seconds",
                "Time of operations, by name and by how they ended (ok, error, cancelled).",
                ["operation", "result"],
                buckets=STAGE_SECONDS,
                registry=registry,
            ),
            MOST_STAGES,
        )
        self._stage_seconds = Capped(
            Histogram(
                f"{PREFIX}_stage_duration_seconds",
                "Time of the stages of operations.",
                ["operation", "stage"],
                buckets=STAGE_SECONDS,
                registry=registry,
            ),
            MOST_STAGES,
        )

    def _define_images(self) -> None:
        registry = self.registry
        self._pulls = Counter(
            f"{PREFIX}_image_pulls", "Image pulls ended, by result.", ["result"], registry=registry
        )
        self._pulls_in_flight = Gauge(
            f"{PREFIX}_image_pulls_in_flight", "Image pulls under way.", registry=registry
        )
        self._pull_seconds = Histogram(
            f"{PREFIX}_image_pull_duration_seconds",
            "Time of image pulls that succeeded.",
            buckets=PULL_SECONDS,
            registry=registry,
        )
        self._pull_bytes = Capped(
            Counter(
                f"{PREFIX}_image_pull_bytes",
                "Bytes fetched, by the registry or mirror that gave them.",
                ["host"],
                registry=registry,
            ),
            MOST_NAMES,
        )
        self._fetch_seconds = Capped(
            Counter(
                f"{PREFIX}_image_pull_fetch_seconds",
                "Time in which pulls fetched, by registry or mirror; the bytes over it are the throughput.",
                ["host"],
                registry=registry,
            ),
            MOST_NAMES,
        )
        self._layers = Counter(
            f"{PREFIX}_image_layers",
            "Layers of pulled images, by where they came from (fetched, reused).",
            ["source"],
            registry=registry,
        )

    def _define_process(self) -> None:
        registry = self.registry
        self._events = Counter(
            f"{PREFIX}_events", "Container events produced, by type.", ["type"], registry=registry
        )
        self._events_dropped = Counter(
            f"{PREFIX}_events_dropped",
            "Container events that a slow watcher missed because its queue was full.",
            registry=registry,
        )
        self._event_watchers = Gauge(
            f"{PREFIX}_event_watchers", "Clients that watch container events.", registry=registry
        )
        self._lag = Histogram(
            f"{PREFIX}_event_loop_lag_seconds",
            "How late the event loop ran a timer: the time something blocked it.",
            buckets=LAG_SECONDS,
            registry=registry,
        )
        self._task_deaths = Capped(
            Counter(
                f"{PREFIX}_task_deaths", "Background tasks that failed, by kind.", ["task"], registry=registry
            ),
            MOST_NAMES,
        )
        self._leftovers = Capped(
            Counter(
                f"{PREFIX}_rollback_leftovers",
                "Undo steps that failed, by operation; the janitor tries them again.",
                ["operation"],
                registry=registry,
            ),
            MOST_NAMES,
        )
        build = Info(f"{PREFIX}_build", "Versions of what is running.", registry=registry)
        build.info(
            {
                "version": version_of("cri-shim"),
                "python": platform.python_version(),
                "grpc": version_of("grpcio"),
            }
        )

    def rpc_began(self, method: str) -> None:
        """Count a CRI call in; every call must be followed by one `rpc_ended`."""
        self._rpcs_in_flight(method).inc()

    def rpc_ended(self, method: str, code: str, seconds: float) -> None:
        """Count a CRI call out; `code` is the gRPC code's name ("OK", "NOT_FOUND")."""
        self._rpcs_in_flight(method).dec()
        self._rpcs(method, code).inc()
        self._rpc_seconds(method).observe(seconds)

    def containerd_call(self, service: str, method: str, code: str, seconds: float) -> None:
        """Count one call to containerd: `service` "Containers", `method` "Create", `code` "OK"."""
        self._containerd_seconds(service, method).observe(seconds)
        if code != "OK":
            self._containerd_errors(service, method, code).inc()

    def cni_call(self, plugin: str, verb: str, seconds: float, *, failed: bool) -> None:
        """Count one run of a CNI plugin: `plugin` "bridge", `verb` "ADD"."""
        self._cni_seconds(plugin, verb).observe(seconds)
        if failed:
            self._cni_errors(plugin, verb).inc()

    def operation_finished(self, finished: Operation) -> None:
        """Count an operation and its stages; made for `cri.observe.stages.on_finished`."""
        result = finished.outcome if finished.outcome in {"ok", "cancelled"} else "error"
        self._operation_seconds(finished.name, str(result)).observe(finished.seconds or 0.0)
        for record in tuple(finished.stages):
            if record.seconds is not None:
                self._stage_seconds(finished.name, record.name).observe(record.seconds)

    @contextmanager
    def image_pull(self) -> Iterator[None]:
        """Count the `with` block as one image pull: "ok", or "error" when it raises."""
        began = time.monotonic()
        with self._pulls_in_flight.track_inprogress():
            try:
                yield
            except BaseException:
                self._pulls.labels("error").inc()
                raise
            self._pulls.labels("ok").inc()
            self._pull_seconds.observe(time.monotonic() - began)

    def image_bytes(self, count: int, host: str, seconds: float) -> None:
        """Count bytes that one pull fetched from a registry or mirror in so many seconds."""
        self._pull_bytes(host).inc(count)
        self._fetch_seconds(host).inc(seconds)

    def image_layers(self, *, fetched: int, reused: int) -> None:
        """Count the layers of one pull: fetched, and reused because containerd held them already."""
        self._layers.labels("fetched").inc(fetched)
        self._layers.labels("reused").inc(reused)

    def event(self, kind: str) -> None:
        """Count a container event: "created", "started", "stopped", "deleted"."""
        self._events.labels(kind).inc()

    def events_dropped(self, count: int) -> None:
        """Count events that one watcher missed."""
        self._events_dropped.inc(count)

    def event_watchers(self, count: int) -> None:
        """State how many watchers there are."""
        self._event_watchers.set(count)

    def loop_lag(self, seconds: float) -> None:
        """Note by how much the event loop was late."""
        self._lag.observe(seconds)

    def task_death(self, name: str, error: BaseException) -> None:
        """Count a failed background task; made for `Supervisor(on_death=...)`."""
        self._task_deaths(task_kind(name)).inc()

    def rollback_leftover(self, operation: str, step: str, error: BaseException) -> None:
        """Count an undo step that failed; made for `cri.concurrency.undo.watch_leftovers`."""
        self._leftovers(task_kind(operation)).inc()
