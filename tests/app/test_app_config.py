"""Decoding, checks, lines, rendering and overrides of the configuration."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.app.config import configuration as configuration_module
from cri.app.config import schema
from cri.app.config.assembly import (
    container_settings,
    image_settings,
    network_settings,
    node_paths,
    oci_settings,
    registry_settings,
    sandbox_settings,
)
from cri.app.config.checks import check
from cri.app.config.configuration import Configuration
from cri.app.config.durations import Duration
from cri.app.config.embedded import embedded_overrides
from cri.app.config.fields import meaning_of
from cri.app.config.lines import KeyLines
from cri.app.config.load import Override, load, read
from cri.app.config.problems import ConfigurationError, Place, nearest
from cri.app.config.render import render
from cri.container.settings import ContainerSettings
from cri.image.settings import ImageSettings, RegistrySettings
from cri.network.settings import NetworkSettings
from cri.oci.settings import OciSettings

SOURCE = "/etc/cri-shim/config.toml"


def problems(text: str, *overrides: Override) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, SOURCE, overrides)
    return caught.value.message.splitlines()


def sections() -> list[type]:
    found = [value for value in vars(schema).values() if dataclasses.is_dataclass(value)]
    return [*found, configuration_module.Configuration]


@pytest.mark.parametrize("section", sections())
def test_every_key_has_a_meaning(section):
    for declared in dataclasses.fields(section):
        text = meaning_of(declared).text
        assert text.endswith((".", "?")), f"{section.__name__}.{declared.name} needs a sentence: {text!r}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('rot = "/x"', 'rot: unknown key; did you mean "root"?'),
        ("completely_else = 1", "completely_else: unknown key"),
        ('max_concurrent_downloads = "3"', 'max_concurrent_downloads: expected an integer, got "3"'),
        ("max_concurrent_downloads = true", "max_concurrent_downloads: expected an integer, got true"),
        ("max_concurrent_downloads = 0", "max_concurrent_downloads: 0 is too low; the lowest value is 1"),
        ("enable_selinux = 1", "enable_selinux: expected true or false, got 1"),
        ("stream_idle_timeout = 4", 'stream_idle_timeout: expected a duration such as "5m0s", got 4'),
        (
            'stream_idle_timeout = "4 h"',
            'stream_idle_timeout: "4 h" is not a duration such as "30s", "5m0s" or "1h30m"',
        ),
        (
            'unclaimed_result_timeout = "10ms"',
            "unclaimed_result_timeout: 10ms is too low; the lowest value is 1s",
        ),
        ('stream_server_port = "http"', 'stream_server_port: "http" is not a port from "0" to "65535"'),
        ('root = "relative"', 'root: "relative" is not an absolute path'),
        (
            "selinux_category_range = 2000",
            "selinux_category_range: 2000 is too high; the highest value is 1024",
        ),
        (
            'image_pull_engine = "fast"',
            'image_pull_engine: expected one of "auto", "local", "transfer", got "fast"',
        ),
        ('sandbox_image = ""', "sandbox_image: must name an image"),
        ('log_keeper_cgroup = "/"', "log_keeper_cgroup: must be a cgroup below the root, without . and .."),
        (
            'log_keeper_cgroup = "/a/../b"',
            "log_keeper_cgroup: must be a cgroup below the root, without . and ..",
        ),
        ('log_keeper_cgroup = "a"', 'log_keeper_cgroup: "a" is not an absolute path'),
        ("grpc = 3", "grpc: expected a table, got 3"),
        ("cdi_spec_dirs = [3]", "cdi_spec_dirs: expected a string, got 3"),
        (
            'unset_seccomp_profile = "tight"',
            'unset_seccomp_profile: "tight" is not "", "unconfined", "runtime/default" or "localhost/PATH"',
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_line(line, message):
    assert problems(f"# a comment\n\n{line}\n") == [f"{SOURCE}:3: {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[cni]\nconf_dri = "/x"', ':2: cni.conf_dri: unknown key; did you mean "conf_dir"?'),
        ('[cni]\nbin_dir = "/a"\nbin_dirs = ["/b"]', ":2: cni.bin_dir: give either bin_dir or bin_dirs"),
        (
            '[containerd]\ndefault_runtime_name = "kata-qemu"\n[containerd.runtimes.kata]',
            (
                ":2: containerd.default_runtime_name: there is no [containerd.runtimes.kata-qemu] "
                '(there are: kata, runc); did you mean "kata"?'
            ),
        ),
        (
            "[containerd.runtimes.runc.options]\nSystemdCgrup = true",
            (
                ":2: containerd.runtimes.runc.options.SystemdCgrup: io.containerd.runc.v2 has no such option; "
                'did you mean "SystemdCgroup"?'
            ),
        ),
        (
            '[containerd.runtimes.runc.options]\nSystemdCgroup = "yes"',
            ":2: containerd.runtimes.runc.options.SystemdCgroup: expected true or false",
        ),
        (
            '[containerd.runtimes.x]\nbase_runtime_spec = "/none.json"',
            ":2: containerd.runtimes.x.base_runtime_spec: /none.json does not exist",
        ),
        (
            '[registry.configs."host:5000".tls]\ncert_file = "/dev/null"',
            ':1: registry.configs."host:5000".tls: cert_file and key_file belong together',
        ),
        (
            '[registry.configs."https://host".auth]',
            ':1: registry.configs."https://host": is a host with an optional port, without scheme or path',
        ),
        (
            '[registry]\nconfig_path = "/certs.d"\n[registry.mirrors."docker.io"]\nendpoint = ["https://m"]',
            ":3: registry.mirrors: cannot be given together with config_path; write the mirrors as hosts.toml",
        ),
        (
            '[registry.mirrors.x]\nendpoint = ["m"]',
            ':2: registry.mirrors.x.endpoint: "m" is not an http:// or https:// URL',
        ),
        ('[grpc]\nmode = "rw"', ':2: grpc.mode: "rw" is not a mode in octal such as "0600"'),
        ("[grpc]\naddress = ''", ":2: grpc.address: must not be empty"),
        (
            f'[grpc]\naddress = "/{"x" * 120}"',
            ":2: grpc.address: the path is longer than the 107 bytes that a socket may have",
        ),
        (
            '[metrics]\naddress = "1338"',
            ':2: metrics.address: address "1338" is not HOST:PORT, [IPV6]:PORT or unix:///PATH',
        ),
        (
            '[tracing]\nendpoint = "grpc://x"',
            ":2: tracing.endpoint: grpc is not a scheme of OTLP/HTTP; give http:// or https://",
        ),
        (
            '[x509_key_pair_streaming]\ntls_cert_file = "/dev/null"\ntls_key_file = "/dev/null"',
            ":1: x509_key_pair_streaming: is given, but enable_tls_streaming is false",
        ),
    ],
)
def test_faults_in_tables(text, message):
    assert problems(text) == [SOURCE + message]


def test_all_problems_come_at_once_and_no_secret_with_them():
    found = problems("a = 1\nb = 2\n[registry.configs.h.auth]\npassword = 12345\nusername = 1\n")
    assert len(found) == 4
    assert "12345" not in "\n".join(found), "a secret of the wrong type must not be printed"


def test_what_is_no_toml_is_said_with_its_place():
    (message,) = problems("root = \n")
    assert message.startswith(f"{SOURCE}: not TOML: ")
    assert "line 1" in message


def test_flags_go_over_the_file_and_are_named_in_errors():
    over = Override(("metrics", "address"), "127.0.0.1:9", "flag --metrics-address")
    assert read('[metrics]\naddress = "127.0.0.1:8"', SOURCE, [over]).metrics.address == "127.0.0.1:9"
    wrong = Override(("debug", "level"), "loud", "flag --log-level")
    (message,) = problems("", wrong)
    assert message.startswith('flag --log-level: debug.level: expected one of "debug"')


def test_files(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        load(tmp_path / "absent.toml")
    path = tmp_path / "config.toml"
    path.write_text('sandbox_image = "local/pause:1"\n')
    assert load(path).sandbox_image == "local/pause:1"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        load(path)


def test_handlers_of_the_file_stand_beside_the_built_in_one():
    runtimes = read(
        '[containerd.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"', SOURCE
    ).containerd.runtimes
    assert set(runtimes) == {"runc", "kata"}
    assert runtimes["runc"].runtime_type == "io.containerd.runc.v2"
    runtimes = read("[containerd.runtimes.runc.options]\nSystemdCgroup = true", SOURCE).containerd.runtimes
    assert dict(runtimes["runc"].options) == {"SystemdCgroup": True}


def test_what_is_printed_can_be_read_again():
    defaults = read("", SOURCE)
    assert read(render(defaults), SOURCE) == defaults
    text = """
        pinned_images = ["a", "b*"]
        image_pull_progress_timeout = "1h2m3.5s"
        [containerd.runtimes."my kata"]
        runtime_type = "io.containerd.kata.v2"
        pod_annotations = ["io.katacontainers.*"]
        [containerd.runtimes."my kata".options]
        ConfigPath = "/etc/kata.toml"
        [registry.mirrors."docker.io"]
        endpoint = ["https://mirror"]
    """
    changed = read(text, SOURCE)
    assert read(render(changed), SOURCE) == changed


def test_secrets_are_not_printed():
    text = """
        [registry.configs.host.auth]
        username = "me"
        password = "hunter2"
        [registry.headers]
        Authorization = ["Basic hunter2"]
    """
    shown = read(text, SOURCE)
    assert "hunter2" not in render(shown)
    assert "Authorization" in render(shown)
    assert '"(hidden)"' in render(shown)
    assert "hunter2" not in repr(shown)


def test_every_key_is_printed_with_a_comment():
    lines = render(read("", SOURCE)).splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# "), f"no comment above: {line}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("5m0s", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("1m1s1ms", 61.001),
        (".5s", 0.5),
        ("-2s", -2),
        ("1us", 1e-6),
        ("1µs", 1e-6),
    ],
)
def test_durations(text, seconds):
    assert Duration.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "1d", "1h-1m", "\u0661s", "1,5s", "+-1s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        Duration.parse(text)


@given(st.integers(min_value=0, max_value=10**15))
def test_durations_print_as_they_are_read(nanoseconds):
    duration = Duration(nanoseconds / 1e9)
    assert Duration.parse(str(duration)) == pytest.approx(duration, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(300, "5m0s"), (14400, "4h0m0s"), (90, "1m30s"), (0.25, "250ms"), (0, "0s"), (1.5, "1.5s"), (-1, "-1s")],
)
def test_durations_print_as_go_prints_them(seconds, text):
    assert str(Duration(seconds)) == text


def test_lines_of_keys():
    lines = KeyLines(
        'a = 1\n[b]\n"c d" = 2\ne.f = 3\n[ x . "y.z" ] # note\nlong = [\n  1,\n]\n[[list]]\nq = 1\n'
    )
    assert lines.line(("a",)) == 1
    assert lines.line(("b",)) == 2
    assert lines.line(("b", "c d")) == 3
    assert lines.line(("b", "e", "f")) == 4
    assert lines.line(("x", "y.z", "long")) == 6
    assert lines.line(("x", "y.z", "absent")) == 5, "the table around it"
    assert lines.line(("absent",)) is None


@given(st.text(max_size=200))
def test_lines_of_any_text(text):
    KeyLines(text).line(("a", "b"))


def test_nearest_names():
    assert nearest("sandbox_imag", ["sandbox_image", "root"]) == '; did you mean "sandbox_image"?'
    assert nearest("Systemdcgroup", ["SystemdCgroup"]) == '; did you mean "SystemdCgroup"?'
    assert nearest("zzz", ["root"]) == ""


def test_defaults_agree_with_the_packages():
    defaults = read("", SOURCE)
    assert oci_settings(defaults) == OciSettings()
    assert network_settings(defaults) == NetworkSettings()
    assert container_settings(defaults) == ContainerSettings()
    assert image_settings(defaults) == ImageSettings()
    assert registry_settings(defaults) == RegistrySettings()
    assert sandbox_settings(defaults).sandbox_image == defaults.sandbox_image
    assert str(node_paths(defaults).state) == "/run/cri-shim"


@pytest.mark.parametrize("settings", [OciSettings, ContainerSettings, ImageSettings, NetworkSettings])
def test_no_setting_is_forgotten(settings):
    """Each setting of a package follows the configuration, or has a key of its own there."""
    renamed = {
        "bin_dirs", "plugin_timeout_seconds", "verifier_bin_dir", "verifier_timeout", "verifier_max",
        "platforms",
    }  # fmt: skip
    keys = {
        field.name
        for section in (Configuration, schema.CniSection, schema.ContainerdSection)
        for field in dataclasses.fields(section)
    }
    for declared in dataclasses.fields(settings):
        assert declared.name in keys | renamed, f"{settings.__name__}.{declared.name} cannot be configured"


def test_settings_follow_the_configuration():
    changed = read(
        """
        max_concurrent_downloads = 7
        image_pull_progress_timeout = "1m"
        [cni]
        bin_dir = "/a:/b"
        ip_pref = "cni"
        conf_template = "/dev/null"
        [registry.mirrors."docker.io"]
        endpoint = ["https://mirror"]
        [registry.configs.host.auth]
        username = "me"
        password = "x"
        [image_verifier]
        per_verifier_timeout = "3s"
        """,
        SOURCE,
    )
    assert [str(path) for path in network_settings(changed).bin_dirs] == ["/a", "/b"]
    assert network_settings(changed).ip_pref == "cni"
    assert str(network_settings(changed).conf_template) == "/dev/null"
    assert image_settings(changed).max_concurrent_downloads == 7
    assert image_settings(changed).image_pull_progress_timeout == 60
    assert image_settings(changed).verifier_timeout == 3
    registry = registry_settings(changed)
    assert registry.config_path == "", "old-style mirrors rule the default path out"
    assert registry.mirrors["docker.io"].endpoint == ("https://mirror",)
    auth = registry.configs["host"].auth
    assert auth is not None
    assert (auth.username, auth.password) == ("me", "x")


def test_embedded_puts_everything_below_one_directory(tmp_path):
    chosen = read("", SOURCE, embedded_overrides(tmp_path))
    for value in (
        chosen.root,
        chosen.state,
        chosen.grpc.address,
        chosen.containerd.address,
        chosen.cni.conf_dir,
        chosen.cni.cache_dir,
    ):
        assert value.startswith(f"{tmp_path}/")
    assert chosen.grpc.address == f"{tmp_path}/cri-shim.sock"
    assert chosen.netns_mounts_under_state_dir
    over = [*embedded_overrides(tmp_path), Override(("grpc", "address"), "/x.sock", "flag --listen")]
    assert read("", SOURCE, over).grpc.address == "/x.sock", "flags go over what --embedded implies"


def test_checks_look_at_the_machine_only_through_exists():
    asked: list[str] = []
    configuration = read("", SOURCE)
    cni = dataclasses.replace(configuration.cni, conf_template="/t")
    changed = dataclasses.replace(configuration, cni=cni)

    def exists(path: str) -> bool:
        asked.append(path)
        return False

    (problem,) = check(changed, lambda _path: Place("x"), exists)
    assert str(problem) == "x: cni.conf_template: /t does not exist"
    assert asked == ["/t"]
