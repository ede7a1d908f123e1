"""oom_score_adj of processes: what may be set, and what this process is able to set.

Lowering the value needs CAP_SYS_RESOURCE; a runtime that tries without it fails to start the container. So
where the capability is missing, or `restrict_oom_score_adj` is set, a value below this process's own is
raised to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.oci.refusals import check_range

if TYPE_CHECKING:
    from cri.oci.host import HostFacts
    from cri.oci.settings import OciSettings

#: The kubelet wants a pod's sandbox to die after everything else in the pod.
SANDBOX = -998

LOWEST, HIGHEST = -1000, 1000


def possible(wanted: int, host: HostFacts, settings: OciSettings) -> int:
    """The value to set for `wanted`."""
    return max(wanted, host.own_oom_score_adj) if limited(host, settings) else wanted


def limited(host: HostFacts, settings: OciSettings) -> bool:
    """Whether values below this process's own cannot be had."""
    return settings.restrict_oom_score_adj or not host.has_cap_sys_resource


def unexpectedly_limited(host: HostFacts, settings: OciSettings) -> bool:
    """Whether values are raised though the configuration does not ask for it: worth one warning at start."""
    return not settings.restrict_oom_score_adj and not host.has_cap_sys_resource


def container_value(wanted: int, host: HostFacts, settings: OciSettings) -> int:
    """`process.oomScoreAdj` for a container that asks for `wanted`. Raises InvalidArgument out of range."""
    check_range("config.linux.resources.oom_score_adj", wanted, LOWEST, HIGHEST)
    return possible(wanted, host, settings)
