"""Images as volumes on the containerd double: one view and one mount a pod, kept from the garbage collector."""

from __future__ import annotations

import grpc
import pytest

from api.wire import criv1
from cri.errors import FailedPrecondition, InvalidArgument
from cri.linux.mounts import is_mount_point
from tests.double.garbage import collect
from tests.node import IMAGE, DoubleNode


def mount(sub_path: str = "", image: str = IMAGE) -> criv1.Mount:
    return criv1.Mount(
        container_path="/volume", readonly=True, image=criv1.ImageSpec(image=image), image_sub_path=sub_path
    )


def views(node: DoubleNode) -> list[str]:
    return [key for key in node.containerd.leftovers().snapshots if "volume" in key]


async def test_containers_of_a_pod_share_one_view_that_goes_with_the_pod(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    for name in ("first", "second"):
        await node.containers.create(pod, node.container_config(name, mounts=[mount()]))
    (directory,) = node.pods.engine.paths.image_volumes(pod).iterdir()
    assert is_mount_point(directory)
    assert len(views(node)) == 1
    collect(node.containerd.state)
    assert len(views(node)) == 1, "the sandbox's record names it"
    await node.sandboxes.stop(pod)
    assert not is_mount_point(directory)
    await node.sandboxes.remove(pod)
    await node.settled()
    node.assert_nothing_left()


async def test_a_view_left_by_a_crash_is_taken_over(node: DoubleNode):
    pod = await node.sandboxes.run(node.pod_config(), "")
    node.containerd.lose_answer("Snapshots.View", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(FailedPrecondition, match="^ImageVolumeMountFailed"):
        await node.containers.create(pod, node.container_config(mounts=[mount()]))
    await node.containers.create(pod, node.container_config(mounts=[mount()]))
    assert len(views(node)) == 1


async def test_views_without_a_mount_left_go_with_the_record(node: DoubleNode):
    """After a reboot the state directory is empty: nothing but the record tells of the view."""
    pod = await node.sandboxes.run(node.pod_config(), "")
    await node.containers.create(pod, node.container_config(mounts=[mount()]))
    await node.sandboxes.stop(pod)
    (directory,) = node.pods.engine.paths.image_volumes(pod).iterdir()
    directory.rmdir()
    await node.sandboxes.remove(pod)
    assert views(node)
    collect(node.containerd.state)
    assert not views(node)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (mount(image="no/such:image"), FailedPrecondition),
        (mount(sub_path="no/such"), InvalidArgument),
        (mount(sub_path="pause"), InvalidArgument),
        (mount(sub_path="../.."), InvalidArgument),
    ],
)
async def test_errors_begin_as_the_kubelet_counts_them(node: DoubleNode, asked: criv1.Mount, error: type):
    pod = await node.sandboxes.run(node.pod_config(), "")
    with pytest.raises(error, match="^ImageVolumeMountFailed"):
        await node.containers.create(pod, node.container_config(mounts=[asked]))
