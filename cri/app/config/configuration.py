"""The whole configuration: the top-level keys and the sections below them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cri.app.config.durations import Duration
from cri.app.config.fields import meaning
from cri.app.config.schema import (
    HOUR,
    KIBIBYTE,
    MINUTE,
    CniSection,
    ContainerdSection,
    DebugSection,
    GrpcSection,
    ImageVerifierSection,
    JanitorSection,
    MetricsSection,
    RegistrySection,
    TracingSection,
    X509KeyPairSection,
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything an operator can set. Immutable; made by `cri.app.config.load`."""

    root: str = field(
        default="/var/lib/cri-shim",
        metadata=meaning("Directory for what must survive a reboot.", path=True, restart=True),
    )
    state: str = field(
        default="/run/cri-shim",
        metadata=meaning(
            "Directory for what ends with the boot: sockets, FIFOs, mounts.", path=True, restart=True
        ),
    )

    sandbox_image: str = field(
        default="registry.k8s.io/pause:3.10",
        metadata=meaning("Image of the container that holds a pod's namespaces, where one does."),
    )
    sandbox_mode: Literal["auto", "pause"] = field(
        default="auto",
        metadata=meaning(
            'Our own. "auto": the kernel holds a pod\'s namespaces by mounts, without a pause container, unless its '
            'containers share a PID namespace or its runtime is not runc\'s. "pause": always a pause container.'
        ),
    )
    pinned_images: tuple[str, ...] = field(
        default=(),
        metadata=meaning(
            "Images, by name or shell pattern, that the kubelet must not clean up; the sandbox image is one."
        ),
    )
    max_concurrent_downloads: int = field(
        default=3, metadata=meaning("Layers of one image that are fetched at a time.", lowest=1)
    )
    node_concurrent_downloads: int = field(
        default=12, metadata=meaning("Our own. Layers of all pulls that are fetched at a time.", lowest=1)
    )
    image_pull_progress_timeout: Duration = field(
        default=Duration(5 * MINUTE),
        metadata=meaning("A pull ends when nothing has moved for so long; 0s waits for ever.", lowest=0),
    )
    image_pull_engine: Literal["auto", "local", "transfer"] = field(
        default="auto",
        metadata=meaning(
            "Our own. Who pulls: this server, containerd's transfer service, or what fits best."
        ),
    )
    stats_collect_period: int = field(
        default=10,
        metadata=meaning(
            "Seconds between measurements of image and container disk use.", lowest=1, restart=True
        ),
    )

    max_container_log_line_size: int = field(
        default=16 * KIBIBYTE,
        metadata=meaning("Bytes of a log line before it is split into parts; 0 or less never splits."),
    )
    container_log_rate_limit: int = field(
        default=0,
        metadata=meaning(
            "Our own. Bytes of log that a container may fill in a second; the rest is dropped, which the log says. "
            "0 is no limit. For containers that start later.",
            lowest=0,
        ),
    )
    container_log_rotate_size: int = field(
        default=0,
        metadata=meaning(
            "Our own. Bytes at which a log is rotated before the kubelet looks, which it does every ten seconds; four "
            "rotated ones are kept. 0 leaves it to the kubelet. For containers that start later.",
            lowest=0,
        ),
    )
    drain_exec_sync_io_timeout: Duration = field(
        default=Duration(0),
        metadata=meaning(
            "How long ExecSync reads on after its process ended; 0s until the streams are closed.", lowest=0
        ),
    )
    unclaimed_result_timeout: Duration = field(
        default=Duration(10 * MINUTE),
        metadata=meaning(
            "Our own. How long a pod or container is kept whose creator never came back.",
            lowest=1,
            restart=True,
        ),
    )

    stream_server_address: str = field(
        default="127.0.0.1",
        metadata=meaning("Address where exec, attach and port-forward are served.", restart=True),
    )
    stream_server_port: str = field(
        default="0", metadata=meaning('Their port; "0" takes a free one.', restart=True)
    )
    stream_idle_timeout: Duration = field(
        default=Duration(4 * HOUR),
        metadata=meaning("A stream without traffic is closed after this long; 0s never.", lowest=0),
    )
    enable_tls_streaming: bool = field(
        default=False, metadata=meaning("Serve streams over TLS.", restart=True)
    )

    enable_selinux: bool = field(
        default=False, metadata=meaning("Label processes and mounts for SELinux.", restart=True)
    )
    selinux_category_range: int = field(
        default=1024,
        metadata=meaning(
            "Categories that pods get their own out of: 0 up to this, exclusive.",
            lowest=2,
            highest=1024,
            restart=True,
        ),
    )
    disable_apparmor: bool = field(
        default=False, metadata=meaning("Set no AppArmor profile, whatever the kernel can.")
    )
    unset_seccomp_profile: str = field(
        default="",
        metadata=meaning(
            'Seccomp profile where none is asked for: "" (unconfined), "runtime/default" or "localhost/PATH".'
        ),
    )
    disable_proc_mount: bool = field(
        default=False, metadata=meaning("Keep the usual masked and read-only paths, whatever is asked for.")
    )
    restrict_oom_score_adj: bool = field(
        default=False, metadata=meaning("Raise a lower oom_score_adj to this process's own.")
    )
    tolerate_missing_hugetlb_controller: bool = field(
        default=True,
        metadata=meaning(
            "Ignore hugepage limits where the cgroup controller is missing, rather than refuse them."
        ),
    )
    disable_hugetlb_controller: bool = field(default=True, metadata=meaning("Never set hugepage limits."))
    device_ownership_from_security_context: bool = field(
        default=False,
        metadata=meaning("Devices belong to the user and group of the container's security context."),
    )
    ignore_image_defined_volumes: bool = field(
        default=False, metadata=meaning("Make no anonymous volumes for an image's VOLUMEs.")
    )
    enable_unprivileged_ports: bool = field(
        default=True, metadata=meaning("Any process of a pod with its own network may bind ports below 1024.")
    )
    enable_unprivileged_icmp: bool = field(
        default=True, metadata=meaning("Any process of a pod with its own network may send pings.")
    )
    enable_cdi: bool = field(
        default=True, metadata=meaning("Resolve devices of the Container Device Interface.", restart=True)
    )
    cdi_spec_dirs: tuple[str, ...] = field(
        default=("/etc/cdi", "/var/run/cdi"),
        metadata=meaning("Directories of CDI specifications; later ones go first.", path=True, restart=True),
    )
    netns_mounts_under_state_dir: bool = field(
        default=False,
        metadata=meaning(
            "Pin network namespaces below the state directory rather than in /var/run/netns.", restart=True
        ),
    )
    default_cgroup_parent: str = field(
        default="/k8s.io",
        metadata=meaning(
            "Our own. Parent cgroup of pods whose request names none; the kubelet always names one."
        ),
    )

    log_keeper_cgroup: str = field(
        default="",
        metadata=meaning(
            "Our own. Cgroup that the log keeper moves to, for a server whose end is the end of all processes of its "
            'cgroup, as in a container; "" is the one of the server that starts it.',
            path=True,
            restart=True,
        ),
    )

    grpc: GrpcSection = field(
        default_factory=GrpcSection,
        metadata=meaning("The socket that the kubelet and crictl talk to.", restart=True),
    )
    debug: DebugSection = field(default_factory=DebugSection, metadata=meaning("What is logged, to stderr."))
    metrics: MetricsSection = field(
        default_factory=MetricsSection, metadata=meaning("The Prometheus exposition.", restart=True)
    )
    janitor: JanitorSection = field(
        default_factory=JanitorSection, metadata=meaning("What removes leftovers.")
    )
    tracing: TracingSection = field(
        default_factory=TracingSection, metadata=meaning("OpenTelemetry.", restart=True)
    )
    cni: CniSection = field(default_factory=CniSection, metadata=meaning("Pod networks."))
    containerd: ContainerdSection = field(
        default_factory=ContainerdSection, metadata=meaning("Which containerd is used, and how.")
    )
    registry: RegistrySection = field(
        default_factory=RegistrySection, metadata=meaning("Where images come from.")
    )
    x509_key_pair_streaming: X509KeyPairSection = field(
        default_factory=X509KeyPairSection,
        metadata=meaning("Certificate of the stream server, with enable_tls_streaming.", restart=True),
    )
    image_verifier: ImageVerifierSection = field(
        default_factory=ImageVerifierSection,
        metadata=meaning("Programs that may veto an image, as containerd's bindir verifiers."),
    )
