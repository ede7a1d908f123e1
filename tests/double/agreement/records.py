"""Scenarios of container and image records."""

from __future__ import annotations

import contextlib

from api.containerd import (
    SPEC_TYPE_URL,
    Client,
    Container,
    Descriptor,
    Image,
    TypedValue,
)
from api.containerd.errors import NotFound
from tests.double.agreement.notebook import Notebook
from tests.double.agreement.workload import (
    RUNTIME,
    digest_of,
)


async def container_records(client: Client, book: Notebook) -> None:
    spec = TypedValue.json(SPEC_TYPE_URL, {})
    base = Container("record", runtime=RUNTIME, spec=spec)
    for what, wrong in {
        "no id": Container("", runtime=RUNTIME, spec=spec),
        "long id": Container("x" * 77, runtime=RUNTIME, spec=spec),
        "odd id": Container("a--b", runtime=RUNTIME, spec=spec),
        "no runtime": Container("record", spec=spec),
        "no spec": Container("record", runtime=RUNTIME),
        "key without snapshotter": Container("record", runtime=RUNTIME, spec=spec, snapshot_key="k"),
        "huge label": Container("record", {"k": "v" * 4096}, runtime=RUNTIME, spec=spec),
    }.items():
        await book.outcome(what, client.containers.create(wrong))
    with contextlib.suppress(NotFound):  # containerd 2 takes a record without a spec
        await client.containers.delete("record")
    made = await client.containers.create(
        Container("record", {"full": "yes", "empty": ""}, runtime=RUNTIME, spec=spec, sandbox_id="pod")
    )
    book.note("labels", sorted(made.labels))
    book.note("sandbox", made.sandbox_id)
    await book.outcome("again", client.containers.create(base))
    await book.outcome("get unknown", client.containers.get("unknown"))
    await book.outcome("update unknown", client.containers.update(Container("unknown"), "labels"))
    await book.outcome("other runtime", client.containers.update(Container("record", runtime="x", spec=spec)))
    await book.outcome("odd path", client.containers.update(base, "runtime"))
    changed = await client.containers.update(
        Container("record", {"new": "1"}, extensions={"e": TypedValue("t/x", b"[]")}),
        "labels.new",
        "labels.full",
        "extensions.e",
    )
    book.note("changed", (sorted(changed.labels), dict(changed.extensions), changed.runtime))
    book.note("listed", [found.id for found in await client.containers.list('labels."new"==1')])
    book.note("not listed", [found.id for found in await client.containers.list("labels.new==2", "id~=^x")])
    await book.outcome("bad filter", client.containers.list("labels.=="))
    await book.outcome("delete", client.containers.delete("record"))
    await book.outcome("delete again", client.containers.delete("record"))


async def image_records(client: Client, book: Notebook) -> None:
    target = Descriptor("application/vnd.oci.image.index.v1+json", digest_of(b"index"), 5)
    for what, wrong in {
        "no name": Image("", target),
        "no size": Image("i", Descriptor(target.media_type, target.digest, 0)),
        "no type": Image("i", Descriptor("", target.digest, 5)),
        "bad digest": Image("i", Descriptor(target.media_type, "sha256:0", 5)),
    }.items():
        await book.outcome(what, client.images.create(wrong))
    made = await client.images.create(Image("i", target, {"a": "1", "b": "", "c": "3"}))
    book.note("labels", dict(sorted(made.labels.items())))
    await book.outcome("again", client.images.create(Image("i", target)))
    await book.outcome("update unknown", client.images.update(Image("other", target)))
    await book.outcome("odd path", client.images.update(Image("i", target), "name"))
    changed = await client.images.update(Image("i", target, {"d": "4"}), "labels.d", "labels.a")
    book.note("changed", dict(sorted(changed.labels.items())))
    book.note("replaced", dict((await client.images.update(Image("i", target))).labels))
    book.note(
        "by digest", [image.name for image in await client.images.list(f"target.digest=={target.digest}")]
    )
    await book.outcome("delete", client.images.delete("i", sync=True))
    await book.outcome("delete again", client.images.delete("i"))
