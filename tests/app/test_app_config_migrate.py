"""containerd's configuration, versions 1 to 3, turned into ours."""

import shutil
import subprocess
import tomllib

import pytest

from cri.app.config.load import read
from cri.app.config.migrate import migrate, migrate_file, to_toml
from cri.app.config.problems import ConfigurationError


def migrated(text: str):
    result = migrate(tomllib.loads(text))
    toml = to_toml(result, "title")
    return tomllib.loads(toml), toml, result


V2 = """
version = 2
[grpc]
address = "/run/other/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.6"
stream_server_address = "127.0.0.1"
disable_tcp_service = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "kata"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v1"
runtime_engine = "/usr/bin/crun"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
CriuPath = "/criu"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
pod_annotations = ["io.katacontainers.*"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
endpoint = ["https://mirror.example"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."harbor:5000".auth]
username = "me"
password = "secret"
[plugins."io.containerd.grpc.v1.cri".registry.auths."https://old.example"]
auth = "bWU6c2VjcmV0"
"""


def test_version_2():
    values, toml, _ = migrated(V2)
    assert values == {
        "sandbox_image": "registry.k8s.io/pause:3.6",
        "cni": {"bin_dir": "/usr/lib/cni"},
        "containerd": {
            "address": "/run/other/containerd.sock",
            "snapshotter": "native",
            "default_runtime_name": "kata",
            "runtimes": {
                "runc": {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}},
                "kata": {"runtime_type": "io.containerd.kata.v2", "pod_annotations": ["io.katacontainers.*"]},
            },
        },
        "registry": {
            "mirrors": {"docker.io": {"endpoint": ["https://mirror.example"]}},
            "configs": {
                "harbor:5000": {"auth": {"username": "me", "password": "secret"}},
                "old.example": {"auth": {"auth": "bWU6c2VjcmV0"}},
            },
        },
    }
    assert "# disable_tcp_service = true: CRI is served on the Unix socket only" in toml
    assert '# containerd.runtimes.runc.runtime_engine = "/usr/bin/crun": ' in toml
    assert '# containerd.runtimes.runc.options.CriuPath = "/criu": ' in toml
    assert "# containerd.runtimes.runc.runtime_type: containerd no longer has io.containerd.runc.v1." in toml
    read(toml, "migrated")


def test_version_1():
    values, toml, _ = migrated(
        """
        [plugins.cri]
        systemd_cgroup = false
        stream_server_port = "10010"
        [plugins.cri.containerd.default_runtime]
        runtime_type = "io.containerd.runtime.v1.linux"
        runtime_root = "/r"
        [plugins.cri.containerd.untrusted_workload_runtime]
        runtime_type = ""
        """
    )
    assert values == {
        "stream_server_port": "10010",
        "containerd": {
            "default_runtime_name": "default",
            "runtimes": {"default": {"runtime_type": "io.containerd.runc.v2"}},
        },
    }
    assert "# systemd_cgroup = false: " in toml
    assert "untrusted" not in toml, "a runtime without a type is none"
    read(toml, "migrated")


def test_version_3():
    values, toml, _ = migrated(
        """
        version = 3
        [plugins."io.containerd.cri.v1.images"]
        snapshotter = "native"
        discard_unpacked_layers = true
        use_local_image_pull = true
        max_concurrent_downloads = 5
        stats_collect_period = 20
        [plugins."io.containerd.cri.v1.images".pinned_images]
        sandbox = "registry.k8s.io/pause:3.10.2"
        agent = "example.org/agent:1"
        [plugins."io.containerd.cri.v1.images".registry]
        config_path = "/etc/containerd/certs.d"
        [plugins."io.containerd.cri.v1.runtime"]
        enable_selinux = true
        drain_exec_sync_io_timeout = "5s"
        stats_collect_period = "1s"
        enable_criu = true
        [plugins."io.containerd.cri.v1.runtime".cni]
        bin_dirs = ["/usr/lib/cni"]
        use_internal_loopback = true
        [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        sandboxer = "podsandbox"
        [plugins."io.containerd.grpc.v1.cri"]
        stream_idle_timeout = "1h0m0s"
        [plugins."io.containerd.image-verifier.v1.bindir"]
        bin_dir = "/opt/verifiers"
        max_verifiers = 10
        per_verifier_timeout = "10s"
        """
    )
    assert values == {
        "max_concurrent_downloads": 5,
        "stats_collect_period": 20,
        "image_pull_engine": "local",
        "sandbox_image": "registry.k8s.io/pause:3.10.2",
        "pinned_images": ["example.org/agent:1"],
        "enable_selinux": True,
        "drain_exec_sync_io_timeout": "5s",
        "stream_idle_timeout": "1h0m0s",
        "cni": {"bin_dirs": ["/usr/lib/cni"]},
        "containerd": {
            "snapshotter": "native",
            "discard_unpacked_layers": True,
            "runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2"}},
        },
        "registry": {"config_path": "/etc/containerd/certs.d"},
        "image_verifier": {"bin_dir": "/opt/verifiers"},
    }
    for left_out in ("enable_criu", "use_internal_loopback", "sandboxer", "stats_collect_period"):
        assert f"{left_out} = " in toml.partition("# Not taken over:")[2]


def test_keys_nobody_knows_are_told_too():
    _, toml, result = migrated('version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nbrand_new = [1]\n')
    assert "# brand_new = [1]: there is no such setting here" in toml
    assert result.left_out[0].path == ("brand_new",)


def test_imports_cannot_be_followed():
    assert (
        "containerd config dump" in migrated('version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n')[1]
    )


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        migrate_file(tmp_path / "absent.toml")
    path = tmp_path / "bad.toml"
    path.write_text("version = ")
    with pytest.raises(ConfigurationError, match=r"bad\.toml"):
        migrate_file(path)


@pytest.mark.skipif(shutil.which("containerd") is None, reason="needs containerd's own default configuration")
def test_the_installed_containerds_defaults_become_a_valid_file():
    text = subprocess.run(
        ["containerd", "config", "default"], check=True, capture_output=True, text=True
    ).stdout
    _, toml, _ = migrated(text)
    configuration = read(toml, "migrated")
    assert configuration.containerd.default_runtime_name == "runc"
    assert "there is no such setting here" not in toml, "every key of a released version has a reason"
