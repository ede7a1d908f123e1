"""The spec of a sandbox without a process: what its namespaces are and what is set in them. Nothing is started from it.

containerd wants a spec in every record, and the status shows it. What it says is what holds: names and values that the
kernel or a later container would refuse are refused here, as they are for a sandbox with a process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.wire import criv1
from cri.oci import cgroups, namespaces, sysctls
from cri.oci.annotations import sandbox_annotations
from cri.oci.sandbox import checked_hostname
from cri.oci.spec import OCI_VERSION
from cri.oci.user import sandbox_user_request

if TYPE_CHECKING:
    from cri.oci.handler import RuntimeHandler
    from cri.oci.host import HostFacts
    from cri.oci.namespaces import NamespacePaths
    from cri.oci.settings import OciSettings
    from cri.oci.spec import Spec


@dataclass(frozen=True, slots=True)
class PinnedSandboxInputs:
    """Everything that the spec depends on."""

    sandbox_id: str
    config: criv1.PodSandboxConfig
    handler: RuntimeHandler
    host: HostFacts
    settings: OciSettings
    namespaces: NamespacePaths


def pinned_sandbox_spec(inputs: PinnedSandboxInputs) -> Spec:
    """The spec. Raises InvalidArgument naming the field that cannot be honoured."""
    config, handler = inputs.config, inputs.handler
    context = config.linux.security_context
    options = context.namespace_options
    namespaces.check_user_namespaces(namespaces.user_mappings(options), handler)
    sandbox_user_request(context, "")
    cgroups.cgroups_path(config.linux.cgroup_parent, inputs.sandbox_id, handler, inputs.settings)
    spec: Spec = {
        "ociVersion": OCI_VERSION,
        "annotations": sandbox_annotations(inputs.sandbox_id, config, "", handler.pod_annotations),
        "linux": {
            "namespaces": namespaces.held_namespaces(options, inputs.namespaces),
            "sysctl": sysctls.sandbox_sysctls(config, inputs.host, inputs.settings),
        },
    }
    if options.network != criv1.NODE and config.hostname:
        spec["hostname"] = checked_hostname(config.hostname)
    return spec
