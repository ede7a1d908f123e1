"""Images built in memory: right by the OCI image specification, and the same every time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

from cri.app.built_image import (
    INDEX,
    LAYER_TAR,
    Entry,
    Image,
    Settings,
    image_of,
    index_of,
    layer_of,
    layout_archive,
)

ENTRIES = [
    Entry("bin", mode=0o755),
    Entry("bin/program", b"content", mode=0o4755, user=1, group=2),
    Entry("bin/link", hardlink="bin/program"),
    Entry("sbin", symlink="bin"),
]


def image(content: bytes = b"content") -> Image:
    return image_of([layer_of([Entry("file", content)])], Settings(command=("/file",), labels={"a": "b"}))


def test_a_layer_holds_its_entries() -> None:
    layer = layer_of(ENTRIES)
    tar = gzip.decompress(layer.blob.content)
    assert layer.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest(), "the diff ID is of the plain tar"
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        directory, program, hardlink, symlink = archive.getmembers()
        assert (directory.isdir(), symlink.issym(), symlink.linkname) == (True, True, "bin")
        assert (program.mode, program.uid, program.gid) == (0o4755, 1, 2)
        assert (hardlink.islnk(), hardlink.linkname) == (True, "bin/program")
        extracted = archive.extractfile(program)
        assert extracted is not None
        assert extracted.read() == b"content"


def test_the_same_input_gives_the_same_digest() -> None:
    assert image().manifest.digest == image().manifest.digest
    assert image().manifest.digest != image(b"other").manifest.digest


def test_an_uncompressed_layer_is_its_own_tar() -> None:
    layer = layer_of(ENTRIES, compression=0)
    assert (layer.blob.media_type, layer.blob.digest) == (LAYER_TAR, layer.diff_id)


def test_the_manifest_describes_its_blobs() -> None:
    built = image()
    manifest = json.loads(built.manifest.content)
    described = [manifest["config"], *manifest["layers"]]
    held = {blob.digest: len(blob.content) for blob in built.blobs}
    assert {entry["digest"]: entry["size"] for entry in described} == held
    config = json.loads(built.config.content)
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in built.layers]
    assert config["config"] == {
        "Cmd": ["/file"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Labels": {"a": "b"},
    }


def test_an_index_names_the_platforms() -> None:
    members = [
        image_of([layer_of([Entry("file", name.encode())])], Settings(), name) for name in ("amd64", "s390x")
    ]
    document = json.loads(index_of(members).blob.content)
    assert document["mediaType"] == INDEX
    assert [entry["platform"]["architecture"] for entry in document["manifests"]] == ["amd64", "s390x"]


def test_the_archive_is_an_image_layout_with_every_blob_once() -> None:
    names = {"example.invalid/one:1": image(), "example.invalid/two:1": image()}
    with tarfile.open(fileobj=io.BytesIO(layout_archive(names))) as archive:
        files = archive.getnames()
        assert len(files) == len(set(files))
        layout = archive.extractfile("oci-layout")
        index = archive.extractfile("index.json")
        assert layout is not None
        assert index is not None
        assert json.load(layout) == {"imageLayoutVersion": "1.0.0"}
        described = json.load(index)["manifests"]
        assert [entry["annotations"]["io.containerd.image.name"] for entry in described] == list(names)
        for blob in (*image().blobs, image().manifest):
            stored = archive.extractfile("blobs/" + blob.digest.replace(":", "/"))
            assert stored is not None
            assert stored.read() == blob.content
