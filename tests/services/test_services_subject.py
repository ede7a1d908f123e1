"""Which object a request is about; nothing of it that is secret."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from api.wire import criv1
from cri.services.subject import subject

POD = criv1.PodSandboxConfig(metadata=criv1.PodSandboxMetadata(name="web", namespace="shop", uid="u1"))


@pytest.mark.parametrize(
    ("request_message", "about"),
    [
        (criv1.RunPodSandboxRequest(config=POD), {"pod": "shop/web", "uid": "u1"}),
        (
            criv1.CreateContainerRequest(
                pod_sandbox_id="s1",
                sandbox_config=POD,
                config=criv1.ContainerConfig(metadata=criv1.ContainerMetadata(name="app")),
            ),
            {"pod": "shop/web", "uid": "u1", "sandbox": "s1", "name": "app"},
        ),
        (criv1.CreateContainerRequest(pod_sandbox_id="s1"), {"sandbox": "s1", "name": ""}),
        (
            criv1.PullImageRequest(image=criv1.ImageSpec(image="busybox"), sandbox_config=POD),
            {"pod": "shop/web", "uid": "u1", "image": "busybox"},
        ),
        (criv1.StopPodSandboxRequest(pod_sandbox_id="s1"), {"sandbox": "s1"}),
        (criv1.ExecSyncRequest(container_id="c1", cmd=["cat", "/secret"]), {"container": "c1"}),
        (criv1.RemoveImageRequest(image=criv1.ImageSpec(image="busybox")), {"image": "busybox"}),
        (criv1.ListContainersRequest(), {}),
    ],
)
def test_what_a_request_is_about(request_message: Message, about: dict[str, str]):
    assert subject(request_message) == about


def test_secrets_stay_out():
    pull = criv1.PullImageRequest(
        image=criv1.ImageSpec(image="busybox"),
        auth=criv1.AuthConfig(username="user", password="hunter2", registry_token="token"),
    )
    create = criv1.CreateContainerRequest(
        config=criv1.ContainerConfig(envs=[criv1.KeyValue(key="PASSWORD", value=b"hunter2")])
    )
    for request_message in (pull, create):
        assert "hunter2" not in str(subject(request_message))
        assert "token" not in str(subject(request_message))
