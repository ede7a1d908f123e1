"""The spec of a sandbox's own process (the pause container), from the request and the facts around it."""

from __future__ import annotations

from dataclasses import dataclass, field

from api.wire import criv1
from cri.oci.handler import RuntimeHandler
from cri.oci.host import HostFacts
from cri.oci.image_defaults import ImageDefaults
from cri.oci.selinux import SelinuxLabels
from cri.oci.settings import OciSettings
from cri.oci.spec import Spec
from cri.oci.user import ResolvedUser


@dataclass(frozen=True, slots=True)
class SandboxSpecInputs:
    """Everything that a sandbox's spec depends on."""

    sandbox_id: str
    config: criv1.PodSandboxConfig
    image: ImageDefaults
    #: Name of the sandbox image, for the annotation.
    image_name: str
    user: ResolvedUser
    handler: RuntimeHandler
    host: HostFacts
    settings: OciSettings
    #: Pinned network namespace; None with host network.
    network_namespace: str | None
    #: The generated resolv.conf of the pod; None when there is none to mount.
    resolv_conf_path: str | None
    #: The pod's shm mount; None with host IPC (then the host's /dev/shm).
    shm_path: str | None
    #: Pinned user namespace that owns the pinned network namespace; None to let the runtime make one if asked.
    user_namespace: str | None = None
    labels: SelinuxLabels = field(default_factory=SelinuxLabels)
    #: Contents of the Localhost seccomp profile, when one is requested (see `seccomp.profile_path`).
    seccomp_profile: bytes | None = None


def sandbox_spec(inputs: SandboxSpecInputs) -> Spec:
    """The spec for the sandbox's process. Raises InvalidArgument naming the field that cannot be honoured."""
    raise NotImplementedError
