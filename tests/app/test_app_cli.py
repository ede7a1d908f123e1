"""The program itself: dispatch, exit codes, messages, and what is not imported."""

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cri.app import commands
from cri.app.config.configuration import Configuration


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cri.app.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_help_lists_every_command_without_importing_them():
    code = (
        "import sys; from cri.app.commands import run; run(['--help']); "
        "print([m for m in sys.modules if m.startswith(('grpc', 'aiohttp', 'cri.app.pod', 'prometheus'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("serve", "config", "pod", "version"):
        assert f"\n  {name} " in done.stdout
    assert done.stdout.endswith("[]\n"), "help must not load the server"


def test_serving_waits_for_nothing_that_few_calls_need():
    """The kubelet waits until the modules of `serve` are read; see cri.app.start_up."""
    unneeded = ("cri.app.doctor", "cri.app.pod", "cryptography", "opentelemetry", "pyroute2", "yaml")
    code = f"import sys; import cri.app.serve; print([m for m in sys.modules if m.startswith({unneeded})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_log_keeper_is_started_without_the_command_line_library(tmp_path):
    (tmp_path / "probe.py").write_text(
        "import sys\n"
        "import types\n"
        "keeper = types.ModuleType('cri.logs.keeper')\n"
        "keeper.main = lambda arguments: print(arguments) or 5\n"
        "sys.modules['cri.logs.keeper'] = keeper\n"
        "sys.argv = ['cri-shim', 'log-keeper', '/x.sock']\n"
        "from cri.app.cli import main\n"
        "code = main()\n"
        "print(code, [m for m in ('grpc', 'aiohttp', 'click', 'google.protobuf') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "probe.py"], capture_output=True, text=True, check=True)
    assert done.stdout == "['/x.sock']\n5 []\n"


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version(asked):
    done = program(asked)
    assert done.returncode == 0
    assert done.stdout.startswith("cri-shim 0.")


def test_errors_are_messages_without_traceback(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("rot = 1\nx = 2\n")
    done = program("config", "check", str(path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f'cri-shim: {path}:1: rot: unknown key; did you mean "root"?\ncri-shim: {path}:2: x: unknown key\n'
    )


def test_usage_errors_have_a_code_of_their_own():
    done = program("serve", "--nonsense")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_config_commands(tmp_path, capsys):
    assert commands.run(["config", "default"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert commands.run(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: no problems\n"
    assert commands.run(["config", "show", str(path)]) == 0
    assert capsys.readouterr().out == text
    containerd = tmp_path / "containerd.toml"
    containerd.write_text('version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nenable_selinux = true\n')
    output = tmp_path / "ours.toml"
    assert commands.run(["config", "migrate", str(containerd), "-o", str(output)]) == 0
    assert "enable_selinux = true\n" in output.read_text()


def test_a_migrated_file_needs_no_directory_and_keeps_what_it_holds_to_itself(tmp_path: Path):
    """A virtual environment brings no /etc/cri-shim; and credentials of registries may stand in the file."""
    containerd = tmp_path / "containerd.toml"
    containerd.write_text("version = 2\n")
    output = tmp_path / "etc" / "cri-shim" / "config.toml"
    assert commands.run(["config", "migrate", str(containerd), "-o", str(output)]) == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_a_migrated_file_that_cannot_be_written_is_told(tmp_path: Path, capsys):
    containerd = tmp_path / "containerd.toml"
    containerd.write_text("version = 2\n")
    output = containerd / "config.toml"
    assert commands.run(["config", "migrate", str(containerd), "-o", str(output)]) == 1
    assert f"cri-shim: {output} cannot be written" in capsys.readouterr().err


@pytest.fixture
def served(monkeypatch):
    """Replaces the server; holds what it would have been started with."""
    seen: list[tuple[Configuration, Path | None]] = []
    module = type(sys)("cri.app.serve")

    def serve(configuration: Configuration, read_again, embedded: Path | None = None) -> int:
        seen.append((configuration, embedded))
        return 3

    module.serve = serve
    monkeypatch.setitem(sys.modules, "cri.app.serve", module)
    monkeypatch.setattr("cri.observe.logging.set_up_logging", lambda *_: None)
    return seen


def test_serve_gives_flags_over_the_file(served, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('root = "/a"\nstate = "/b"\n[metrics]\naddress = "127.0.0.1:1"\n')
    flags = {
        "--listen": "/l.sock",
        "--containerd": "/c.sock",
        "--root": "/r",
        "--cni-conf-dir": "/conf",
        "--cni-bin-dir": "/bin",
        "--log-keeper-cgroup": "/keeper",
        "--metrics-address": "",
        "--log-level": "debug",
        "--log-format": "json",
    }
    arguments = [part for flag in flags.items() for part in flag]
    assert commands.run(["serve", "--config", str(path), *arguments]) == 3, "the server's own exit code"
    ((configuration, embedded),) = served
    assert embedded is None
    assert configuration.root == "/r"
    assert configuration.state == "/b", "what no flag says comes from the file"
    assert configuration.grpc.address == "/l.sock"
    assert configuration.containerd.address == "/c.sock"
    assert (configuration.cni.conf_dir, configuration.cni.bin_dir) == ("/conf", "/bin")
    assert configuration.log_keeper_cgroup == "/keeper"
    assert configuration.metrics.address == ""
    assert (configuration.debug.level, configuration.debug.format) == ("debug", "json")


def test_serve_embedded(served, tmp_path):
    assert commands.run(["serve", "--embedded", str(tmp_path), "--state", "/elsewhere"]) == 3
    ((configuration, embedded),) = served
    assert embedded == tmp_path
    assert configuration.grpc.address == f"{tmp_path}/cri-shim.sock"
    assert configuration.state == "/elsewhere", "a flag goes over what --embedded implies"


def test_serve_with_a_named_file_that_is_absent(served, tmp_path, capsys):
    assert commands.run(["serve", "--config", str(tmp_path / "none.toml")]) == 1
    assert "none.toml: no such file" in capsys.readouterr().err
    assert served == []


def test_pod_commands_against_a_server(tmp_path):
    """The whole tool as a process: run, ls, logs, exec, rm."""
    import asyncio

    from cri_double import served as serve_double

    manifest = tmp_path / "pod.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
        "spec: {containers: [{name: c, image: 'docker.io/library/busybox:1'}]}\n"
    )
    outputs: list[subprocess.CompletedProcess[str]] = []

    async def scenario() -> None:
        async with serve_double(tmp_path) as (double, endpoint):

            async def pod(*arguments: str) -> None:
                outputs.append(
                    await asyncio.to_thread(
                        program, "pod", arguments[0], "--endpoint", endpoint, *arguments[1:]
                    )
                )

            await pod("run", "--directory", str(tmp_path / "pods"), str(manifest))
            await pod("ls")
            (container,) = double.containers.values()
            Path(container.log_path).write_bytes(b"t stdout F hello\n")
            await pod("logs", "web")
            await pod("exec", "web", "--", "ls", "-l")
            await pod("rm", "web")
            await pod("rm", "web")

    asyncio.run(scenario())
    ran, listed, logged, executed, removed, again = outputs
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("pod default/web runs at 10.1.0.2 fd00::2\n")
    assert listed.stdout.splitlines()[1].startswith("web  default")
    assert logged.stdout == "hello\n"
    assert (executed.stdout, executed.stderr, executed.returncode) == ("ls -l", "warning", 7)
    assert removed.stdout.endswith("ok  remove default/web\n")
    assert again.returncode == 1
    assert again.stderr.startswith('cri-shim: no pod "web"')
    assert threading.active_count() < 20
