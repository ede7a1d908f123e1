"""Every configuration key: name, type, default, meaning. The one table that everything else is made from.

Names, types and places are those of containerd's CRI plugin (1.6, flat) and of containerd's own `[grpc]`,
`[debug]` and `[metrics]`, because operators know them; keys of our own are marked so. Decoding, checks, the
commented default file, the reference and migration all read these dataclasses; a new key is one line here.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the decoder resolves the annotations
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from cri.app.config.durations import Duration
from cri.app.config.fields import meaning

SECONDS, MINUTE, HOUR = 1.0, 60.0, 3600.0
KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class GrpcSection:
    """`[grpc]`: the socket that the kubelet and crictl talk to."""

    address: str = field(
        default="/run/cri-shim/cri-shim.sock",
        metadata=meaning("Path of the Unix socket; a unix:// prefix is allowed.", path=True),
    )
    uid: int = field(default=0, metadata=meaning("Owner of the socket.", lowest=0))
    gid: int = field(default=0, metadata=meaning("Group of the socket.", lowest=0))
    mode: str = field(
        default="0600",
        metadata=meaning("Permissions of the socket, in octal. Whoever may connect is root on this node."),
    )
    max_recv_message_size: int = field(
        default=16 * MEBIBYTE,
        metadata=meaning("Largest request in bytes. The kubelet expects at least 16 MiB.", lowest=MEBIBYTE),
    )
    max_send_message_size: int = field(
        default=16 * MEBIBYTE,
        metadata=meaning("Largest answer in bytes; long lists on big nodes need it.", lowest=MEBIBYTE),
    )
    max_concurrent_rpcs: int = field(
        default=4096,
        metadata=meaning(
            "Our own. Calls at a time, watchers of events among them; more are refused as RESOURCE_EXHAUSTED. "
            "The last eighth is kept for Stop..., Remove..., Status and Version.",
            lowest=16,
        ),
    )


@dataclass(frozen=True, slots=True)
class JanitorSection:
    """`[janitor]`: our own; removes what nobody owns any more."""

    interval: Duration = field(
        default=Duration(10 * MINUTE),
        metadata=meaning(
            "Pause between rounds. One more is made at each start, and soon after a failed roll-back.",
            lowest=1,
        ),
    )


@dataclass(frozen=True, slots=True)
class DebugSection:
    """`[debug]`: what is logged, to stderr."""

    level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata=meaning("Lowest level that is logged.")
    )
    format: Literal["text", "json"] = field(
        default="text", metadata=meaning("One line an event, for people or for machines.")
    )
    slow_operation_threshold: Duration = field(
        default=Duration(10 * SECONDS),
        metadata=meaning(
            "Our own. An operation that takes longer is logged with the time of each stage; 0s logs none.",
            lowest=0,
        ),
    )


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """`[metrics]`: the Prometheus exposition."""

    address: str = field(
        default="127.0.0.1:1338",
        metadata=meaning('Where /metrics is served: "HOST:PORT", "unix:///PATH", or "" for nowhere.'),
    )
    tls_cert_file: str = field(
        default="",
        metadata=meaning(
            "Our own. Certificate to serve /metrics with over TLS; read again when it changes.",
            path=True,
            must_exist=True,
        ),
    )
    tls_key_file: str = field(
        default="", metadata=meaning("Our own. Key of the certificate.", path=True, must_exist=True)
    )


@dataclass(frozen=True, slots=True)
class TracingSection:
    """`[tracing]`: OpenTelemetry."""

    endpoint: str = field(
        default="",
        metadata=meaning(
            'An OTLP/HTTP collector such as "http://127.0.0.1:4318"; "" is the one of the environment '
            "(OTEL_EXPORTER_OTLP_ENDPOINT), and no tracing without."
        ),
    )
    sampling_ratio: float = field(
        default=1.0,
        metadata=meaning(
            "Share of traces begun here that are kept; the kubelet's own decide for themselves.",
            lowest=0,
            highest=1,
        ),
    )


@dataclass(frozen=True, slots=True)
class CniSection:
    """`[cni]`: pod networks."""

    bin_dir: str = field(
        default="", metadata=meaning("One directory of CNI plugins, in the place of bin_dirs.", path=True)
    )
    bin_dirs: tuple[str, ...] = field(
        default=("/opt/cni/bin", "/usr/lib/cni"),
        metadata=meaning("Directories where CNI plugins are looked for, in this order.", path=True),
    )
    conf_dir: str = field(
        default="/etc/cni/net.d",
        metadata=meaning("Directory of CNI configurations; it is watched and may come later.", path=True),
    )
    max_conf_num: int = field(
        default=1,
        metadata=meaning(
            "How many networks a pod is attached to: the first valid files by name; 0 is all.", lowest=0
        ),
    )
    conf_template: str = field(
        default="",
        metadata=meaning(
            "Template of a CNI configuration that is written when the kubelet announces the pod CIDRs.",
            path=True,
            must_exist=True,
        ),
    )
    ip_pref: Literal["", "ipv4", "ipv6", "cni"] = field(
        default="",
        metadata=meaning(
            'Which address is the pod\'s first: "ipv4" (also ""), "ipv6", or "cni" for the plugins\' order.'
        ),
    )
    setup_serially: bool = field(
        default=False,
        metadata=meaning("Attach several networks one after the other rather than all at once."),
    )
    plugin_timeout: Duration = field(
        default=Duration(2 * MINUTE),
        metadata=meaning("Our own. A plugin that runs longer is killed and counts as failed.", lowest=1),
    )
    cache_dir: str = field(
        default="/var/lib/cni",
        metadata=meaning(
            "Our own. Where libcni caches results, so that other tools can clean up.", path=True, restart=True
        ),
    )


@dataclass(frozen=True, slots=True)
class RuntimeSection:
    """`[containerd.runtimes.NAME]`: one runtime handler, chosen by a pod's RuntimeClass."""

    runtime_type: str = field(
        default="io.containerd.runc.v2", metadata=meaning("containerd's name of the runtime's shim.")
    )
    snapshotter: str = field(
        default="",
        metadata=meaning('Snapshotter of this handler\'s containers; "" is the one of [containerd].'),
    )
    platform: str = field(
        default="",
        metadata=meaning(
            "Platform of this handler's images, for one that emulates another; \"\" is this host's.",
            example='"linux/arm64"',
        ),
    )
    pod_annotations: tuple[str, ...] = field(
        default=(),
        metadata=meaning(
            "Pod annotations passed to the runtime; shell wildcards.", example='["io.katacontainers.*"]'
        ),
    )
    container_annotations: tuple[str, ...] = field(
        default=(), metadata=meaning("Container annotations passed to the runtime; shell wildcards.")
    )
    sandbox_mode: Literal["", "auto", "pause"] = field(
        default="", metadata=meaning("Our own. sandbox_mode of this handler's pods; \"\" is the node's.")
    )
    privileged_without_host_devices: bool = field(
        default=False, metadata=meaning("Privileged containers do not get the host's devices.")
    )
    privileged_without_host_devices_all_devices_allowed: bool = field(
        default=False, metadata=meaning("...but may make and use any device themselves.")
    )
    cgroup_writable: bool = field(
        default=False, metadata=meaning("Containers may write below their own /sys/fs/cgroup.")
    )
    base_runtime_spec: str = field(
        default="",
        metadata=meaning(
            "An OCI runtime spec (JSON) that containers start from in the place of the built-in one.",
            path=True,
            must_exist=True,
        ),
    )
    cni_conf_dir: str = field(
        default="",
        metadata=meaning(
            'CNI configurations for this handler\'s pods; "" is the directory of [cni].', path=True
        ),
    )
    cni_max_conf_num: int = field(
        default=0, metadata=meaning("max_conf_num where cni_conf_dir is given; 0 is all.", lowest=0)
    )
    options: Mapping[str, object] = field(
        default_factory=lambda: MappingProxyType({}),
        metadata=meaning(
            "Options for the shim. For runc: BinaryName, Root, SystemdCgroup, NoNewKeyring, NoPivotRoot, "
            "ShimCgroup, IoUid, IoGid, CriuImagePath, CriuWorkPath; for other shims: TypeUrl, ConfigPath.",
            example="[containerd.runtimes.NAME.options]\nSystemdCgroup = true",
        ),
    )


@dataclass(frozen=True, slots=True)
class ContainerdSection:
    """`[containerd]`: which containerd is used, and how."""

    address: str = field(
        default="/run/containerd/containerd.sock",
        metadata=meaning("Socket of containerd's client API.", path=True, restart=True),
    )
    namespace: str = field(
        default="k8s.io",
        metadata=meaning("containerd namespace of everything that is made here.", restart=True),
    )
    snapshotter: str = field(
        default="overlayfs", metadata=meaning("Snapshotter for images and containers.", restart=True)
    )
    default_runtime_name: str = field(
        default="runc", metadata=meaning("Runtime handler of pods that name none.")
    )
    allow_builtin_cri: bool = field(
        default=False,
        metadata=meaning(
            "Our own. Serve even though containerd's own CRI plugin is loaded on the same containerd.",
            restart=True,
        ),
    )
    disable_snapshot_annotations: bool = field(
        default=True,
        metadata=meaning(
            "Do not tell the snapshotter which image a layer is of; remote snapshotters want it told."
        ),
    )
    discard_unpacked_layers: bool = field(
        default=False, metadata=meaning("Drop the packed layers of an image once they are unpacked.")
    )
    runtimes: Mapping[str, RuntimeSection] = field(
        default_factory=lambda: MappingProxyType({"runc": RuntimeSection()}),
        metadata=meaning("Runtime handlers by name. The handler runc is there unless it is overwritten."),
    )


@dataclass(frozen=True, slots=True)
class RegistryAuthSection:
    """`[registry.configs."HOST".auth]`: credentials where the kubelet sends none."""

    username: str = field(default="", metadata=meaning("User name."))
    password: str = field(default="", repr=False, metadata=meaning("Password.", secret=True))
    auth: str = field(
        default="",
        repr=False,
        metadata=meaning("base64 of USERNAME:PASSWORD, as in Docker's config.json.", secret=True),
    )
    identitytoken: str = field(default="", repr=False, metadata=meaning("A refresh token.", secret=True))


@dataclass(frozen=True, slots=True)
class RegistryTlsSection:
    """`[registry.configs."HOST".tls]`: the old form of what hosts.toml says."""

    insecure_skip_verify: bool = field(
        default=False, metadata=meaning("Do not check the registry's certificate.")
    )
    ca_file: str = field(
        default="", metadata=meaning("CA certificates to trust for this host.", path=True, must_exist=True)
    )
    cert_file: str = field(default="", metadata=meaning("Client certificate.", path=True, must_exist=True))
    key_file: str = field(
        default="", metadata=meaning("Key of the client certificate.", path=True, must_exist=True)
    )


@dataclass(frozen=True, slots=True)
class RegistryHostSection:
    """`[registry.configs."HOST"]`."""

    auth: RegistryAuthSection | None = field(default=None, metadata=meaning("Credentials for the host."))
    tls: RegistryTlsSection | None = field(
        default=None, metadata=meaning("TLS settings for the host; deprecated, use hosts.toml.")
    )


@dataclass(frozen=True, slots=True)
class RegistryMirrorSection:
    """`[registry.mirrors."HOST"]`; deprecated, use hosts.toml."""

    endpoint: tuple[str, ...] = field(
        default=(), metadata=meaning("URLs tried in order before the registry itself.")
    )


@dataclass(frozen=True, slots=True)
class RegistrySection:
    """`[registry]`: where images come from."""

    config_path: str = field(
        default="/etc/containerd/certs.d:/etc/docker/certs.d",
        metadata=meaning(
            "Directories, separated by colons, with a HOST/hosts.toml for each registry that needs one."
        ),
    )
    configs: Mapping[str, RegistryHostSection] = field(
        default_factory=lambda: MappingProxyType({}),
        metadata=meaning(
            "Credentials and old-style TLS settings by host.",
            example='[registry.configs."registry.example:5000".auth]\nusername = "puller"\npassword = "..."',
        ),
    )
    mirrors: Mapping[str, RegistryMirrorSection] = field(
        default_factory=lambda: MappingProxyType({}),
        metadata=meaning(
            "Old-style mirrors by host; rules out config_path.",
            example='[registry.mirrors."docker.io"]\nendpoint = ["https://mirror.example"]',
        ),
    )
    headers: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({}),
        repr=False,
        metadata=meaning("HTTP headers sent to every registry.", secret=True),
    )


@dataclass(frozen=True, slots=True)
class X509KeyPairSection:
    """`[x509_key_pair_streaming]`: the certificate of the stream server."""

    tls_cert_file: str = field(
        default="",
        metadata=meaning(
            "Certificate; empty with enable_tls_streaming makes one.", path=True, must_exist=True
        ),
    )
    tls_key_file: str = field(
        default="", metadata=meaning("Key of the certificate.", path=True, must_exist=True)
    )


@dataclass(frozen=True, slots=True)
class ImageVerifierSection:
    """`[image_verifier]`: programs that may veto an image, keys as in containerd's bindir verifier."""

    bin_dir: str = field(
        default="",
        metadata=meaning(
            'Directory of verifier programs; "" switches verification off.', path=True, must_exist=True
        ),
    )
    max_verifiers: int = field(
        default=10, metadata=meaning("Most programs asked about one image; negative asks all.")
    )
    per_verifier_timeout: Duration = field(
        default=Duration(10 * SECONDS),
        metadata=meaning("A program that runs longer counts as a veto.", lowest=0.001),
    )
