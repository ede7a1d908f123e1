"""The .proto files: they describe the real wire and explain each element; generated packages are whole."""

from __future__ import annotations

import runpy
from collections import Counter
from importlib import import_module, resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from api.wire import criv1

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]
PROTOS = CHECKOUT / "protos"
PROTO_NAMES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
REFERENCES = ("cri-v1.json", "containerd.json", "cgroups.json", "extra.json")

MESSAGES, ENUMS, SERVICES = (
    FileDescriptorProto.DESCRIPTOR.fields_by_name[name].number
    for name in ("message_type", "enum_type", "service")
)


@pytest.fixture(scope="module")
def descriptor_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All protos with their comments and imports, compiled into one file."""
    path = tmp_path_factory.mktemp("wire") / "wire.pb"
    status = protoc.main(
        [
            "protoc",
            f"-I{PROTOS}",
            f"-I{resources.files('grpc_tools') / '_proto'}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={path}",
            *PROTO_NAMES,
        ]
    )
    assert status == 0, "protoc refuses the protos; its reason is on stderr"
    return path


@pytest.fixture(scope="module")
def files(descriptor_set: Path) -> dict[str, FileDescriptorProto]:
    """The project's own files by name, without those that they import from protobuf."""
    every = FileDescriptorSet.FromString(descriptor_set.read_bytes()).file
    return {file.name: file for file in every if file.name in PROTO_NAMES}


def test_protos_match_the_reference(descriptor_set: Path) -> None:
    reference = _reference_folder()
    if reference is None:
        pytest.skip(f"no shared/wire in any folder above {CHECKOUT}: the protos were not compared")
    check = runpy.run_path(str(reference / "check.py"))
    have = check["read_descriptors"](descriptor_set)
    differences = []
    for name in REFERENCES:
        checker = check["Checker"](check["json"].loads((reference / name).read_text()), have)
        checker.run()
        for kind in ("missing", "wrong", "extra"):
            differences += [f"{name}: {kind}: {text}" for text in getattr(checker, kind)]
    assert not differences, "the protos differ from the wire:\n" + "\n".join(sorted(differences))


def _reference_folder() -> Path | None:
    candidates = (parent / "shared" / "wire" for parent in CHECKOUT.parents)
    return next((folder for folder in candidates if (folder / "check.py").is_file()), None)


@pytest.mark.parametrize("name", PROTO_NAMES)
def test_every_element_has_a_comment(name: str, files: dict[str, FileDescriptorProto]) -> None:
    file = files[name]
    places = {tuple(place.path): place for place in file.source_code_info.location}
    silent = [
        element
        for path, element in _elements(file)
        if not (places[path].leading_comments.strip() or places[path].trailing_comments.strip())
    ]
    assert not silent, f"{name} does not say what these are for: {', '.join(silent)}"


@pytest.mark.parametrize("name", PROTO_NAMES)
def test_every_file_begins_with_what_it_holds(name: str) -> None:
    assert (PROTOS / name).read_text().startswith("// "), f"{name} begins without a comment"


def _elements(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Where each thing that needs a comment is declared, as a source path, and its name."""
    for index, message in enumerate(file.message_type):
        yield from _message_elements((MESSAGES, index), message)
    for index, enum in enumerate(file.enum_type):
        yield from _enum_elements((ENUMS, index), enum)
    for index, service in enumerate(file.service):
        yield (SERVICES, index), service.name
        for method, rpc in enumerate(service.method):
            number = ServiceDescriptorProto.METHOD_FIELD_NUMBER
            yield (SERVICES, index, number, method), f"{service.name}.{rpc.name}"


def _message_elements(
    path: tuple[int, ...], message: DescriptorProto
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, message.name
    for index, field in enumerate(message.field):
        yield (*path, DescriptorProto.FIELD_FIELD_NUMBER, index), f"{message.name}.{field.name}"
    for index, enum in enumerate(message.enum_type):
        yield from _enum_elements((*path, DescriptorProto.ENUM_TYPE_FIELD_NUMBER, index), enum)
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message_elements((*path, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index), nested)


def _enum_elements(path: tuple[int, ...], enum: EnumDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, enum.name
    for index, value in enumerate(enum.value):
        yield (*path, EnumDescriptorProto.VALUE_FIELD_NUMBER, index), f"{enum.name}.{value.name}"


@pytest.mark.parametrize("name", PROTO_NAMES)
def test_every_file_has_generated_modules(name: str, files: dict[str, FileDescriptorProto]) -> None:
    file, module = files[name], name.removesuffix(".proto").replace("/", ".")
    messages = import_module(f"{module}_pb2")
    assert _declared(file) <= set(dir(messages)), f"{module}_pb2 lacks names: run protos/generate.py"
    if file.service:
        assert _services(file) <= set(dir(import_module(f"{module}_pb2_grpc")))
    else:
        with pytest.raises(ModuleNotFoundError):
            import_module(f"{module}_pb2_grpc")


def test_flat_package_exports_every_name(files: dict[str, FileDescriptorProto]) -> None:
    for name, file in files.items():
        if PurePosixPath(name).parent.name == "criv1":
            missing = (_declared(file) | _services(file)) - set(dir(criv1))
            assert not missing, f"api.wire.criv1 lacks {sorted(missing)} of {name}"


def test_no_name_is_declared_twice(files: dict[str, FileDescriptorProto]) -> None:
    """Within a proto package, whose enum values share one scope with its messages."""
    declared = Counter(
        f"{file.package}.{name}"
        for file in files.values()
        for name in _declared(file) | {service.name for service in file.service}
    )
    assert [name for name, count in declared.items() if count > 1] == []


def test_flat_package_is_one_proto_package(files: dict[str, FileDescriptorProto]) -> None:
    packages = {file.package for name, file in files.items() if "/criv1/" in name}
    assert packages == {"runtime.v1"}, "names of different proto packages would collide in api.wire.criv1"


def _declared(file: FileDescriptorProto) -> set[str]:
    messages = {message.name for message in file.message_type}
    enums = {enum.name for enum in file.enum_type}
    return messages | enums | {value.name for enum in file.enum_type for value in enum.value}


def _services(file: FileDescriptorProto) -> set[str]:
    forms = ("{}Stub", "{}Servicer", "add_{}Servicer_to_server")
    return {form.format(service.name) for service in file.service for form in forms}
