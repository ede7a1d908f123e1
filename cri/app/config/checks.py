"""What types and ranges cannot say: contradictions between keys, names and files that must exist.

Everything here looks at the machine only through `exists`, so it is tested without one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from cri.app.config.decode import type_name
from cri.app.config.fields import meaning_of
from cri.app.config.problems import KeyPath, Problem, nearest
from cri.errors import InvalidArgument
from cri.observe.address import HIGHEST_PORT, UNIX_PREFIX, split_host_port

if TYPE_CHECKING:
    from cri.app.config.configuration import Configuration
    from cri.app.config.decode import Where
    from cri.app.config.schema import RuntimeSection

LONGEST_SOCKET_PATH = 107
"""Bytes that fit in sockaddr_un (unix(7)) beside the closing NUL."""
RUNC_TYPES = ("io.containerd.runc.v2", "io.containerd.runc.v1")
RUNC_OPTIONS: Mapping[str, type] = {
    "BinaryName": str,
    "CriuImagePath": str,
    "CriuWorkPath": str,
    "IoGid": int,
    "IoUid": int,
    "NoNewKeyring": bool,
    "NoPivotRoot": bool,
    "Root": str,
    "ShimCgroup": str,
    "SystemdCgroup": bool,
}
"""Fields of containerd.runc.v1.Options under their names in TOML."""
OTHER_OPTIONS: Mapping[str, type] = {"TypeUrl": str, "ConfigPath": str}
"""Fields of runtimeoptions.v1.Options, which the other shims read."""
SECCOMP_PREFIXES = ("localhost/",)
SECCOMP_NAMES = frozenset({"", "unconfined", "runtime/default", "docker/default"})

Fault = tuple[KeyPath, str]


def check(
    configuration: Configuration, where: Where, exists: Callable[[str], bool] = os.path.exists
) -> list[Problem]:
    """All faults of a configuration whose types are right."""
    faults = [
        *_addresses(configuration),
        *_names(configuration),
        *_runtimes(configuration),
        *_registry(configuration),
        *_streaming(configuration),
        *_files(configuration, (), exists),
    ]
    return [Problem(where(path), path, message) for path, message in faults]


def _addresses(configuration: Configuration) -> Iterator[Fault]:
    sockets = (
        (("grpc", "address"), configuration.grpc.address),
        (("containerd", "address"), configuration.containerd.address),
    )
    for path, address in sockets:
        bare = address.removeprefix(UNIX_PREFIX)
        if not bare:
            yield path, "must not be empty"
        elif len(os.fsencode(bare)) > LONGEST_SOCKET_PATH:
            yield path, f"the path is longer than the {LONGEST_SOCKET_PATH} bytes that a socket may have"
    address = configuration.metrics.address
    if address and not address.startswith(UNIX_PREFIX + "/"):
        try:
            split_host_port(address)
        except InvalidArgument as error:
            yield ("metrics", "address"), error.message
    if bool(configuration.metrics.tls_cert_file) != bool(configuration.metrics.tls_key_file):
        yield ("metrics",), "tls_cert_file and tls_key_file belong together"
    mode = configuration.grpc.mode
    if not (mode.isdecimal() and set(mode) <= set("01234567") and len(mode) in {3, 4}):
        yield ("grpc", "mode"), f'"{mode}" is not a mode in octal such as "0600"'
    scheme, separator, _ = configuration.tracing.endpoint.partition("://")
    if separator and scheme not in ("http", "https"):
        yield ("tracing", "endpoint"), f"{scheme} is not a scheme of OTLP/HTTP; give http:// or https://"


def _names(configuration: Configuration) -> Iterator[Fault]:
    if not configuration.sandbox_image:
        yield ("sandbox_image",), "must name an image"
    if configuration.cni.bin_dir and configuration.cni.bin_dirs != type(configuration.cni)().bin_dirs:
        yield ("cni", "bin_dir"), "give either bin_dir or bin_dirs"
    if not configuration.containerd.namespace:
        yield ("containerd", "namespace"), "must not be empty"
    cgroup = configuration.log_keeper_cgroup
    if cgroup == "/" or {"..", "."} & set(cgroup.split("/")):
        yield ("log_keeper_cgroup",), "must be a cgroup below the root, without . and .."
    profile = configuration.unset_seccomp_profile
    if profile not in SECCOMP_NAMES and not profile.startswith(SECCOMP_PREFIXES):
        yield (
            ("unset_seccomp_profile",),
            f'"{profile}" is not "", "unconfined", "runtime/default" or "localhost/PATH"',
        )


def _runtimes(configuration: Configuration) -> Iterator[Fault]:
    runtimes = configuration.containerd.runtimes
    name = configuration.containerd.default_runtime_name
    if name not in runtimes:
        known = ", ".join(sorted(runtimes))
        hint = nearest(name, runtimes)
        yield (
            ("containerd", "default_runtime_name"),
            f"there is no [containerd.runtimes.{name}] (there are: {known}){hint}",
        )
    for each, runtime in runtimes.items():
        path = ("containerd", "runtimes", each)
        if not each:
            yield path, "a handler needs a name"
        yield from _options(runtime, (*path, "options"))


def _options(runtime: RuntimeSection, path: KeyPath) -> Iterator[Fault]:
    known = RUNC_OPTIONS if runtime.runtime_type in RUNC_TYPES else OTHER_OPTIONS
    for name, value in runtime.options.items():
        if name not in known:
            yield (*path, name), f"{runtime.runtime_type} has no such option{nearest(name, known)}"
        elif type(value) is not known[name]:
            yield (*path, name), f"expected {type_name(known[name])}"


def _registry(configuration: Configuration) -> Iterator[Fault]:
    registry = configuration.registry
    default_path = type(registry)().config_path
    if registry.mirrors and registry.config_path not in {"", default_path}:
        yield (
            ("registry", "mirrors"),
            "cannot be given together with config_path; write the mirrors as hosts.toml",
        )
    for host, section in registry.configs.items():
        path = ("registry", "configs", host)
        if "://" in host or "/" in host:
            yield path, "is a host with an optional port, without scheme or path"
        tls = section.tls
        if tls is not None and bool(tls.cert_file) != bool(tls.key_file):
            yield (*path, "tls"), "cert_file and key_file belong together"
    for host, mirror in registry.mirrors.items():
        for endpoint in mirror.endpoint:
            if not endpoint.startswith(("http://", "https://")):
                yield (
                    ("registry", "mirrors", host, "endpoint"),
                    f'"{endpoint}" is not an http:// or https:// URL',
                )


def _streaming(configuration: Configuration) -> Iterator[Fault]:
    port = configuration.stream_server_port
    if not port.isdecimal() or int(port) > HIGHEST_PORT:
        yield ("stream_server_port",), f'"{port}" is not a port from "0" to "{HIGHEST_PORT}"'
    pair = configuration.x509_key_pair_streaming
    if bool(pair.tls_cert_file) != bool(pair.tls_key_file):
        yield ("x509_key_pair_streaming",), "tls_cert_file and tls_key_file belong together"
    if pair.tls_cert_file and not configuration.enable_tls_streaming:
        yield ("x509_key_pair_streaming",), "is given, but enable_tls_streaming is false"


def _files(section: object, path: KeyPath, exists: Callable[[str], bool]) -> Iterator[Fault]:
    for declared in dataclasses.fields(cast(Any, section)):
        value = getattr(section, declared.name)
        here = (*path, declared.name)
        if dataclasses.is_dataclass(value):
            yield from _files(value, here, exists)
        elif isinstance(value, Mapping):
            for name, each in value.items():
                if dataclasses.is_dataclass(each):
                    yield from _files(each, (*here, name), exists)
        elif value and meaning_of(declared).must_exist and not exists(value):
            yield here, f"{value} does not exist"
