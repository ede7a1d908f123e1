"""Facts and inputs that the spec tests start from: an ordinary node, image, pod and container."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from api.wire import criv1
from cri.oci.capabilities import NAMES
from cri.oci.container import ContainerSpecInputs, SandboxFacts, container_spec
from cri.oci.handler import RuntimeHandler
from cri.oci.host import HostFacts
from cri.oci.image_defaults import ImageDefaults
from cri.oci.namespaces import NamespacePaths
from cri.oci.sandbox import SandboxSpecInputs, sandbox_spec
from cri.oci.settings import OciSettings
from cri.oci.user import ResolvedUser

if TYPE_CHECKING:
    from collections.abc import Callable

    from cri.oci.spec import Spec

SANDBOX_PID = 4711


@pytest.fixture
def host() -> HostFacts:
    return HostFacts(
        cgroup_version=1,
        capabilities=NAMES,
        effective_capabilities=NAMES,
        architecture="x86_64",
        kernel=(6, 1),
        hostname="node-1",
        swap=True,
    )


@pytest.fixture
def handler() -> RuntimeHandler:
    return RuntimeHandler("runc", recursive_read_only_mounts=True, user_namespaces=True, network_devices=True)


@pytest.fixture
def settings() -> OciSettings:
    return OciSettings()


@pytest.fixture
def pod() -> criv1.PodSandboxConfig:
    config = criv1.PodSandboxConfig(hostname="web-0", log_directory="/var/log/pods/default_web-0_uid")
    config.metadata.name = "web-0"
    config.metadata.namespace = "default"
    config.metadata.uid = "uid"
    config.linux.cgroup_parent = "/kubepods/pod1"
    return config


@pytest.fixture
def config() -> criv1.ContainerConfig:
    config = criv1.ContainerConfig(command=["/bin/app"], args=["--serve"])
    config.metadata.name = "app"
    config.image.image = "registry.example/app:1"
    return config


@pytest.fixture
def build_sandbox(
    pod: criv1.PodSandboxConfig, handler: RuntimeHandler, host: HostFacts, settings: OciSettings
) -> Callable[..., Spec]:
    """Build the sandbox spec; keyword arguments replace inputs."""

    def build(**changes: Any) -> Spec:
        inputs = SandboxSpecInputs(
            sandbox_id="s1",
            config=pod,
            image=ImageDefaults(entrypoint=("/pause",), env=("A=1",)),
            image_name="registry.example/pause:3",
            user=ResolvedUser(65535, 65535, (65535,)),
            handler=handler,
            host=host,
            settings=settings,
            namespaces=NamespacePaths(network="/run/netns/cni-1"),
            resolv_conf_path="/state/s1/resolv.conf",
            shm_path="/state/s1/shm",
        )
        return sandbox_spec(replace(inputs, **changes))

    return build


@pytest.fixture
def build_container(
    config: criv1.ContainerConfig,
    pod: criv1.PodSandboxConfig,
    handler: RuntimeHandler,
    host: HostFacts,
    settings: OciSettings,
) -> Callable[..., Spec]:
    """Build the spec from `config` and `pod` as they are by then; keyword arguments replace inputs."""

    def build(**changes: Any) -> Spec:
        options = pod.linux.security_context.namespace_options
        inputs = ContainerSpecInputs(
            container_id="c1",
            config=config,
            sandbox=SandboxFacts(
                id="s1",
                config=pod,
                namespaces=NamespacePaths.of_process(SANDBOX_PID, options),
                resolv_conf_path="/state/s1/resolv.conf",
                hostname_path="/state/s1/hostname",
                shm_path="/state/s1/shm",
            ),
            image=ImageDefaults(env=("FROM_IMAGE=1",), working_dir="/srv"),
            image_name="registry.example/app:1",
            user=ResolvedUser(),
            handler=handler,
            host=host,
            settings=settings,
        )
        return container_spec(replace(inputs, **changes))

    return build
