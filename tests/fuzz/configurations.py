"""Random pod and container configurations: an ordinary one in which some fields have become anything that fits.

Most mutations are small, so that what is refused is refused late and what is accepted goes the whole way. Paths that
the server would create lie below a directory of the test's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from api.wire import criv1
from tests.node import IMAGE

TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "/",
            "/a",
            "a",
            "..",
            "/a/../b",
            "x\0y",
            "ALL",
            "net_raw",
            "é" * 30,
            "a" * 5000,
            "a b",
            "a=b",
            "-1",
            "1:2",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    100,
    1000,
    65_536,
    100_000,
    1 << 20,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    -(2**63),
)
ENUMS = (0, 1, 2, 3, 9)
DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Places:
    """A directory of the test's own, with a directory, a file, a link and room for what is made."""

    base: Path

    @classmethod
    def made_in(cls, base: Path) -> Places:
        (base / "directory").mkdir(parents=True)
        (base / "file").write_text("content")
        (base / "link").symlink_to("directory")
        (base / "filter.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
        return cls(base)

    @property
    def pools(self) -> dict[str, tuple[object, ...]]:
        """Values of fields for which any text will not do, by full name; what is made there stays below `base`."""
        bad = ("", "relative", "/with\0nul", f"{self.base}/file/below")
        here = tuple(f"{self.base}/{name}" for name in ("directory", "file", "link", "new", "new/deep"))
        profiles = (
            f"{self.base}/filter.json",
            f"localhost/{self.base}/filter.json",
            f"{self.base}/file",
            *bad,
        )
        return {
            "Mount.host_path": (*here, *bad, "/dev/null", "/proc/self/mem/below"),
            "Mount.container_path": ("/data", "/data/", "/etc/hosts", "/dev", "/dev/shm", "/", *bad),
            "Mount.image_sub_path": ("", "pause", "no/such", "../..", "/pause"),
            "Device.host_path": ("/dev/null", "/dev/net", "/dev/no-such", f"{self.base}/file", *bad),
            "Device.permissions": ("", "r", "rwm", "rrr", "x", "rwmrwm"),
            "ImageSpec.image": (IMAGE, "no/such:image", "", "sha256:" + "0" * 64, "not a reference"),
            "ImageSpec.image_ref": ("", "whatever"),
            "PodSandboxConfig.log_directory": (f"{self.base}/logs", f"{self.base}/logs/a", *bad),
            "LinuxPodSandboxConfig.cgroup_parent": (
                "",
                "/pods",
                "/pods/a/..",
                "pods.slice",
                "/a:b",
                "/",
                "x\0y",
            ),
            "SecurityProfile.localhost_ref": profiles,
            "LinuxContainerSecurityContext.seccomp_profile_path": (
                "unconfined",
                "runtime/default",
                *profiles,
            ),
            "LinuxSandboxSecurityContext.seccomp_profile_path": ("unconfined", "runtime/default", *profiles),
            "CDIDevice.name": ("vendor.test/class=device", "no name", ""),
            "HugepageLimit.page_size": ("2MB", "1GB", "3KB", ""),
            "LinuxContainerResources.cpuset_cpus": ("0", "0-1", "9999", "1-0", "a", ""),
            "SELinuxOption.level": ("s0:c1,c2", "s0", "secret", ""),
            "Capability.add_capabilities": ("ALL", "CAP_KILL", "net_raw", "SYS_ADMIN", "FLY", ""),
            "LinuxContainerSecurityContext.run_as_username": ("", "root", "no-such-user", "1000", "1:2"),
        }


@st.composite
def container_configs(draw: Any, places: Places) -> criv1.ContainerConfig:
    """A container's configuration."""
    config = criv1.ContainerConfig(
        metadata=criv1.ContainerMetadata(name="app"),
        image=criv1.ImageSpec(image=IMAGE),
        command=["/pause"],
        log_path="app.log",
    )
    config.linux.security_context.namespace_options.pid = criv1.CONTAINER
    _mutate(draw, config, places.pools)
    return config


@st.composite
def pod_configs(draw: Any, places: Places) -> criv1.PodSandboxConfig:
    """A pod's configuration."""
    config = criv1.PodSandboxConfig(
        metadata=criv1.PodSandboxMetadata(name="pod", namespace="fuzz", uid="uid"),
        hostname="pod",
        log_directory=str(places.base / "logs"),
    )
    config.linux.cgroup_parent = "/pods"
    config.linux.security_context.namespace_options.pid = criv1.CONTAINER
    if draw(st.integers(0, 3)) == 0:
        ids = criv1.IDMapping(host_id=100_000, length=65_536)
        user = criv1.UserNamespace(mode=criv1.POD, uids=[ids], gids=[ids])
        config.linux.security_context.namespace_options.userns_options.CopyFrom(user)
    _mutate(draw, config, places.pools)
    return config


def _mutate(draw: Any, message: Message, pools: dict[str, tuple[object, ...]]) -> None:
    for _ in range(draw(st.integers(0, 4))):
        _change(draw, message, pools, 0)


def _change(draw: Any, message: Message, pools: dict[str, tuple[object, ...]], depth: int) -> None:
    """Give one field of the message, or of one inside of it, another value."""
    fields = [field for field in message.DESCRIPTOR.fields if field.name != "windows"]
    field = draw(st.sampled_from(fields))
    if field.message_type is None:
        _change_scalar(draw, message, field, pools)
    elif field.message_type.GetOptions().map_entry:
        _change_map(draw, message, field)
    elif depth < DEEPEST:
        target = getattr(message, field.name)
        inner = target.add() if field.is_repeated else target
        if not field.is_repeated:
            inner.SetInParent()
        for _ in range(draw(st.integers(0, 3))):
            _change(draw, inner, pools, depth + 1)


def _change_scalar(
    draw: Any, message: Message, field: FieldDescriptor, pools: dict[str, tuple[object, ...]]
) -> None:
    value = draw(_values(field, pools))
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _change_map(draw: Any, message: Message, field: FieldDescriptor) -> None:
    keys = st.sampled_from(
        [
            "",
            "key",
            "cdi.k8s.io/a",
            "net.core.somaxconn",
            "kernel.msgmax",
            "kernel.panic",
            "memory.high",
            "a" * 5000,
        ]
    )
    getattr(message, field.name)[draw(keys)] = draw(TEXTS)


def _values(field: FieldDescriptor, pools: dict[str, tuple[object, ...]]) -> st.SearchStrategy[Any]:
    pool = pools.get(f"{field.containing_type.name}.{field.name}")
    if pool is not None:
        return st.sampled_from(pool)
    kind = field.type
    if kind == field.TYPE_BOOL:
        return st.booleans()
    if kind == field.TYPE_BYTES:
        return st.binary(max_size=6)
    if kind == field.TYPE_ENUM:
        return st.sampled_from(ENUMS)
    if kind == field.TYPE_STRING:
        return TEXTS
    low, high = {
        field.TYPE_INT32: (-(2**31), 2**31 - 1),
        field.TYPE_UINT32: (0, 2**32 - 1),
        field.TYPE_UINT64: (0, 2**64 - 1),
    }.get(kind, (-(2**63), 2**63 - 1))
    return st.sampled_from([number for number in NUMBERS if low <= number <= high])
