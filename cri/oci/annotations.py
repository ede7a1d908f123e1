"""Annotations of the spec: what runtimes, shims and node agents read about pod and container.

The runc shim of containerd puts all tasks with one `io.kubernetes.cri.sandbox-id` into one shim process,
and VM runtimes size their machine by the sandbox's resources. Beside these, a handler may let chosen
annotations of the request through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri.oci import globs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.wire import criv1

_PREFIX = "io.kubernetes.cri."

CONTAINER_TYPE = _PREFIX + "container-type"
SANDBOX_ID = _PREFIX + "sandbox-id"
SANDBOX_NAME = _PREFIX + "sandbox-name"
SANDBOX_NAMESPACE = _PREFIX + "sandbox-namespace"
SANDBOX_UID = _PREFIX + "sandbox-uid"
SANDBOX_LOG_DIRECTORY = _PREFIX + "sandbox-log-directory"
SANDBOX_IMAGE_NAME = _PREFIX + "podsandbox.image-name"
SANDBOX_CPU_PERIOD = _PREFIX + "sandbox-cpu-period"
SANDBOX_CPU_QUOTA = _PREFIX + "sandbox-cpu-quota"
SANDBOX_CPU_SHARES = _PREFIX + "sandbox-cpu-shares"
SANDBOX_MEMORY = _PREFIX + "sandbox-memory"
CONTAINER_NAME = _PREFIX + "container-name"
IMAGE_NAME = _PREFIX + "image-name"


def sandbox_annotations(
    sandbox_id: str, config: criv1.PodSandboxConfig, image_name: str, patterns: Iterable[str]
) -> dict[str, str]:
    """Annotations of a sandbox's spec; ours win over those let through."""
    annotations = passed_through(config.annotations, patterns)
    if config.linux.HasField("resources"):
        resources = config.linux.resources
        annotations |= {
            SANDBOX_CPU_PERIOD: str(resources.cpu_period),
            SANDBOX_CPU_QUOTA: str(resources.cpu_quota),
            SANDBOX_CPU_SHARES: str(resources.cpu_shares),
            SANDBOX_MEMORY: str(resources.memory_limit_in_bytes),
        }
    return annotations | {
        **_pod(sandbox_id, config),
        SANDBOX_LOG_DIRECTORY: config.log_directory,
        SANDBOX_IMAGE_NAME: image_name,
        CONTAINER_TYPE: "sandbox",
    }


def container_annotations(
    sandbox_id: str,
    sandbox_config: criv1.PodSandboxConfig,
    config: criv1.ContainerConfig,
    image_name: str,
    pod_patterns: Iterable[str],
    container_patterns: Iterable[str],
) -> dict[str, str]:
    """Annotations of a container's spec: the pod's and its own that are let through, then ours."""
    return {
        **passed_through(sandbox_config.annotations, pod_patterns),
        **passed_through(config.annotations, container_patterns),
        **_pod(sandbox_id, sandbox_config),
        CONTAINER_NAME: config.metadata.name,
        IMAGE_NAME: image_name,
        CONTAINER_TYPE: "container",
    }


def passed_through(annotations: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    """The annotations whose key matches one of the shell `patterns` (`*` and `?` stop at `/`)."""
    matchers = [globs.matcher(pattern) for pattern in patterns]
    return {key: value for key, value in annotations.items() if any(matcher(key) for matcher in matchers)}


def _pod(sandbox_id: str, config: criv1.PodSandboxConfig) -> dict[str, str]:
    return {
        SANDBOX_ID: sandbox_id,
        SANDBOX_NAMESPACE: config.metadata.namespace,
        SANDBOX_UID: config.metadata.uid,
        SANDBOX_NAME: config.metadata.name,
    }
