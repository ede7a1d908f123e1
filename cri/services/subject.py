"""Which object a call is about, for listings of what is in flight, timelines, spans and log lines. Pure.

Only names and ids: a request may hold credentials and environment variables, which must never end up there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import Callable

Subject = dict[str, str]

LONGEST_SHOWN = 256
"""Characters; a longer name is refused anyhow, and need not fill the log."""


def subject(request: object) -> Subject:
    """`sandbox`, `container`, `image`, `pod` (namespace/name), `uid` and `name`, as far as the request tells them."""
    reader = _READERS.get(type(request))
    if reader is None:
        return {}
    return {key: value[:LONGEST_SHOWN] for key, value in reader(request).items()}


def _run(request: object) -> Subject:
    return _pod(cast(criv1.RunPodSandboxRequest, request).config.metadata)


def _create(request: object) -> Subject:
    creation = cast(criv1.CreateContainerRequest, request)
    pod = _pod(creation.sandbox_config.metadata)
    return {**pod, "sandbox": creation.pod_sandbox_id, "name": creation.config.metadata.name}


def _pull(request: object) -> Subject:
    pull = cast(criv1.PullImageRequest, request)
    return {**_pod(pull.sandbox_config.metadata), "image": pull.image.image}


def _image(request: object) -> Subject:
    return {"image": cast(criv1.RemoveImageRequest, request).image.image}


def _pod(metadata: criv1.PodSandboxMetadata) -> Subject:
    if not metadata.uid:
        return {}
    return {"pod": f"{metadata.namespace}/{metadata.name}", "uid": metadata.uid}


def _by_field(field: str, key: str) -> Callable[[object], Subject]:
    return lambda request: {key: getattr(request, field)}


_SANDBOX = _by_field("pod_sandbox_id", "sandbox")
_CONTAINER = _by_field("container_id", "container")

_READERS: dict[type, Callable[[object], Subject]] = {
    criv1.RunPodSandboxRequest: _run,
    criv1.CreateContainerRequest: _create,
    criv1.PullImageRequest: _pull,
    criv1.RemoveImageRequest: _image,
    **dict.fromkeys(
        (
            criv1.StopPodSandboxRequest,
            criv1.RemovePodSandboxRequest,
            criv1.PodSandboxStatusRequest,
            criv1.UpdatePodSandboxResourcesRequest,
            criv1.PortForwardRequest,
            criv1.PodSandboxStatsRequest,
        ),
        _SANDBOX,
    ),
    **dict.fromkeys(
        (
            criv1.StartContainerRequest,
            criv1.StopContainerRequest,
            criv1.RemoveContainerRequest,
            criv1.ContainerStatusRequest,
            criv1.UpdateContainerResourcesRequest,
            criv1.ReopenContainerLogRequest,
            criv1.CheckpointContainerRequest,
            criv1.ExecSyncRequest,
            criv1.ExecRequest,
            criv1.AttachRequest,
            criv1.ContainerStatsRequest,
        ),
        _CONTAINER,
    ),
}
