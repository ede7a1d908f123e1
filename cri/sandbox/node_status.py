"""CRI's views of the node: version, conditions, runtime handlers and their features.

Kubelet asks for the status every five seconds: it is answered from memory and never fails because one part of it did.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.container.cdi import problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cri.container.handlers import Handler, Handlers
    from cri.sandbox.engine import PodEngine
    from cri.sandbox.observer import Observer

KUBELET_API_VERSION = "0.1.0"
"""What kubelet sends in VersionRequest, and wants back."""
RUNTIME_NAME = "containerd"
"""The containers are containerd's; node agents parse the prefix of container ids (`containerd://`)."""
RUNTIME_API_VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Releases:
    """Versions of the two programs."""

    containerd: str
    cri_shim: str


def version_message(releases: Releases) -> criv1.VersionResponse:
    """The answer of Version; kubelet refuses versions that are not semantic ones."""
    found = re.match(r"v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)", releases.containerd)
    containerd = found.group(1) if found else "0.0.0"
    return criv1.VersionResponse(
        version=KUBELET_API_VERSION,
        runtime_name=RUNTIME_NAME,
        runtime_version=f"{containerd}+cri-shim.{releases.cri_shim}",
        runtime_api_version=RUNTIME_API_VERSION,
    )


def status_message(pods: PodEngine, observer: Observer) -> criv1.RuntimeStatus:
    """RuntimeReady makes the node ready or not; NetworkReady only decides whether pods with a network may come."""
    runtime = criv1.RuntimeCondition(type="RuntimeReady", status=observer.connected.is_set())
    if not runtime.status:
        runtime.reason = "ContainerdNotReady"
        runtime.message = (
            f"containerd at {pods.engine.client.address} does not answer; the connection is retried, "
            f"look at containerd's own log{f' ({observer.problem})' if observer.problem else ''}"
        )
    found = pods.networks.default.status()
    network = criv1.RuntimeCondition(
        type="NetworkReady", status=found.ready, reason=found.reason, message=found.message
    )
    return criv1.RuntimeStatus(conditions=[runtime, network, *_cdi_condition(pods)])


def _cdi_condition(pods: PodEngine) -> list[criv1.RuntimeCondition]:
    """Whether all CDI devices can be used; clients act on the first two conditions only, people read this one."""
    if not pods.engine.oci.enable_cdi:
        return []
    wrong = problems(pods.engine.cdi.registry)
    condition = criv1.RuntimeCondition(type="CDIDevicesUsable", status=not wrong)
    if wrong:
        condition.reason, condition.message = "BadSpecifications", "; ".join(wrong)
    return [condition]


def handler_messages(handlers: Handlers) -> list[criv1.RuntimeHandler]:
    """Every handler with what it can do; the default one also under the empty name, as kubelet looks it up."""
    named = [("", handlers.default), *((handler.name, handler) for handler in handlers)]
    return [criv1.RuntimeHandler(name=name, features=_features(handler)) for name, handler in named]


def features_message(handlers: Handlers) -> criv1.RuntimeFeatures:
    """What the runtime as a whole can do."""
    return criv1.RuntimeFeatures(
        supplemental_groups_policy=True,
        user_namespaces_host_network=handlers.default.spec.user_namespaces,
    )


def runtime_config_message(handlers: Handlers) -> criv1.RuntimeConfigResponse:
    """The cgroup driver that kubelet must use too; always set, because an empty message means systemd."""
    driver = criv1.SYSTEMD if handlers.default.spec.systemd_cgroup else criv1.CGROUPFS
    return criv1.RuntimeConfigResponse(linux=criv1.LinuxRuntimeConfiguration(cgroup_driver=driver))


def verbose_info(pods: PodEngine, releases: Releases, configuration: Mapping[str, object]) -> dict[str, str]:
    """What `crictl info` shows beyond the conditions; each value is a JSON document."""
    return {
        "config": json.dumps(configuration),
        "cniconfig": json.dumps(pods.networks.default.describe()),
        "lastCNILoadStatus": pods.networks.default.status().message or "OK",
        "cdi": json.dumps({"devices": sorted(pods.engine.cdi.registry.devices)}),
        "versions": json.dumps({"containerd": releases.containerd, "cri-shim": releases.cri_shim}),
    }


def _features(handler: Handler) -> criv1.RuntimeHandlerFeatures:
    return criv1.RuntimeHandlerFeatures(
        recursive_read_only_mounts=handler.spec.recursive_read_only_mounts,
        user_namespaces=handler.spec.user_namespaces,
    )
