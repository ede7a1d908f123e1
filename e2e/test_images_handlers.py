"""Images for runtime handlers: platforms of their own under one tag, and a remote snapshotter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from api.containerd import Client
from api.wire import criv1
from cri.app.built_image import Entry, Settings, image_of, index_of, layer_of
from cri.app.host_images import busybox_entries, host_architecture, host_busybox
from e2e.harness.catalogue import layered, scratch
from e2e.harness.configured import configured
from e2e.harness.image_service import known, listed, pull, remove
from e2e.harness.leftovers import collect_garbage
from e2e.harness.push import push
from e2e.harness.remote_snapshotter import NAME, remote_snapshotter

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.harness.node import Node
    from e2e.harness.scripted_registry import ScriptedRegistry
    from e2e.harness.workload import Workloads

pytestmark = [pytest.mark.usefixtures("node", "only_images_of_before"), pytest.mark.cri_shim_only]


async def test_one_tag_is_an_image_for_each_platform(node: Node) -> None:
    ours, other = layered(1, 1000, seed=33), scratch(b"emulated", "s390x")
    await push(node.registry, "t/platforms", "1", index_of([other, ours]))
    tag = f"{node.registry.host}/t/platforms:1"

    async def status(handler: str) -> str:
        spec = criv1.ImageSpec(image=tag, runtime_handler=handler)
        return (await node.cri.image.ImageStatus(criv1.ImageStatusRequest(image=spec))).image.id

    tables = '[containerd.runtimes.emulated]\nplatform = "linux/s390x"\n'
    async with configured(node, tables=tables):
        assert await pull(node.cri, tag) == ours.config.digest
        assert await status("emulated") == "", "it is not here for that handler"
        spec = criv1.ImageSpec(image=tag, runtime_handler="emulated")
        answer = await node.cri.image.PullImage(criv1.PullImageRequest(image=spec))
        assert answer.image_ref == other.config.digest
        assert (await status(""), await status("emulated")) == (ours.config.digest, other.config.digest)
        assert {image.id for image in await listed(node.cri, tag)} == {
            ours.config.digest,
            other.config.digest,
        }
        await remove(node.cri, ours.config.digest)
        assert (await status(""), await status("emulated")) == ("", other.config.digest)
        await remove(node.cri, tag)
        assert await known(node.cri, other.config.digest) is None


async def test_a_remote_snapshotter_has_layers_that_nobody_fetches(
    node: Node, scripted: ScriptedRegistry, workloads: Workloads, tmp_path: Path
) -> None:
    base = layer_of(busybox_entries(host_busybox()))
    top = layer_of([Entry("top", b"fetched\n", mode=0o644)])
    middle = layer_of([Entry("middle", b"known\n", mode=0o644)], 0)
    image = image_of([base, middle, top], Settings(command=("sh",)), host_architecture())
    reference = scripted.hold("t/lazy", "1", image)
    tables = f'[containerd.runtimes.lazy]\nsnapshotter = "{NAME}"\n'
    keys = "disable_snapshot_annotations = false\n"
    async with (
        remote_snapshotter(node, tmp_path / "remote") as remote,
        configured(node, tables=tables, containerd_keys=keys),
    ):
        plain = layer_of(busybox_entries(host_busybox()), 0).blob.content
        remote.layers = {base.blob.digest: plain, middle.blob.digest: middle.blob.content}
        spec = criv1.ImageSpec(image=reference, runtime_handler="lazy")
        answer = await node.cri.image.PullImage(criv1.PullImageRequest(image=spec))
        assert answer.image_ref == image.config.digest
        fetched = [layer for layer in image.layers if scripted.asked_for(layer.blob.digest)]
        assert fetched == [top], "AlreadyExists means that a layer need not be fetched"
        labels = remote.asked[0]
        prefix = "containerd.io/snapshot/cri."
        assert labels[f"{prefix}image-ref"] == reference
        assert labels[f"{prefix}manifest-digest"] == image.manifest.digest
        assert labels[f"{prefix}layer-digest"] == base.blob.digest
        assert labels[f"{prefix}image-layers"] == ",".join(layer.blob.digest for layer in image.layers)
        async with Client(node.containerd.address) as client:
            names = [info.name for info in await client.snapshots(NAME).list()]
        assert len(names) == 3
        pod = await workloads.pod(runtime_handler="lazy")
        container = await pod.sleeper(image=reference)
        assert await container.output_of("cat /middle /top") == "known\nfetched"
        await workloads.remove()
        await remove(node.cri, reference)
        await remove(node.cri, node.settings.sandbox_image)
        await collect_garbage(node.containerd.address)
        assert remote.names == [], "snapshots go with their images"
    await pull(node.cri, node.settings.sandbox_image)
