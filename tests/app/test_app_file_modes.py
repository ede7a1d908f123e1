"""What the server puts on the disk is root's alone, but for what every user of a container must be able to read."""

from __future__ import annotations

import stat
from pathlib import Path

from api.containerd import Client
from api.wire import criv1
from tests.app.served import served
from tests.double import ContainerdDouble
from tests.node import IMAGE, load_image

SEEN_BY_CONTAINERS = {"hostname", "hosts", "resolv.conf", "shm"}


async def test_nobody_else_gets_anywhere(containerd: ContainerdDouble, client: Client, tmp_path: Path):
    await load_image(client)
    config = criv1.PodSandboxConfig(
        metadata=criv1.PodSandboxMetadata(name="web", namespace="shop", uid="u"),
        log_directory=str(tmp_path / "logs"),
    )
    config.linux.security_context.namespace_options.network = criv1.NODE
    async with served(containerd, tmp_path, f'sandbox_image = "{IMAGE}"\n') as server:
        runtime = server.cri.runtime
        pod = (await runtime.RunPodSandbox(criv1.RunPodSandboxRequest(config=config))).pod_sandbox_id
        container = criv1.ContainerConfig(
            metadata=criv1.ContainerMetadata(name="app"),
            image=criv1.ImageSpec(image=IMAGE),
            command=["serve"],
            log_path="app/0.log",
        )
        made = await runtime.CreateContainer(
            criv1.CreateContainerRequest(pod_sandbox_id=pod, config=container)
        )
        await runtime.StartContainer(criv1.StartContainerRequest(container_id=made.container_id))
        places = [tmp_path / "root", tmp_path / "state"]
        for place in places:
            assert stat.S_IMODE(place.stat().st_mode) == 0o700, place
        written = [path for place in places for path in place.rglob("*") if not path.is_dir()]
        open_to_others = [
            f"{path} {stat.filemode(path.lstat().st_mode)}"
            for path in written
            if path.lstat().st_mode & 0o077 and path.name not in SEEN_BY_CONTAINERS
        ]
        assert written, "nothing was looked at"
        assert not open_to_others, open_to_others
        log = tmp_path / "logs" / "app" / "0.log"
        assert stat.S_IMODE(log.stat().st_mode) == 0o640, "as the kubelet's log collectors expect"
        await server.cri.remove_sandbox(pod)
