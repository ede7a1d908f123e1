"""The images that critest pulls, made on the spot from Debian packages and pushed to a registry on loopback.

What critest takes for granted of them decides what they are made of:

- Debian's dynamically linked busybox: the shell of the static one runs its applets without a look at PATH, and
  so would not notice a masked `/bin/ls`. Applets are hard links, so that masking one masks one.
- pgrep and ipcs are not in that busybox: they come from procps and util-linux. Its ping wants a raw socket, and
  so notices a dropped NET_RAW.
- nginx is the real one: specs look for its process name, its pid file and port 80 (12003 on the host network).
- Each pause tag is an image of its own, so that removing one does not remove the sandbox image.
- Users 1000, 1002, 1003, www-data and group 50000 are in the account files.

Programs that are installed are taken from the host; others are downloaded with `apt-get download` and unpacked,
not installed. Their libraries are taken from the host, as ldd finds them.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cri.app.built_image import Entry, Image, Settings, image_of, layer_of
from cri.app.host_images import DIRECTORIES, host_architecture, is_static, pause_image

STAGING = "gcr.io/k8s-staging-cri-tools"
SUITE = "registry.k8s.io/e2e-test-images"
SANDBOX_IMAGE = "registry.k8s.io/pause:3.10.2"
REGISTRIES = ("registry.k8s.io", "k8s.gcr.io", "gcr.io", "docker.io")
DIGEST_REPOSITORY = f"{STAGING}/test-image-digest"

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
default-user:x:1000:1000:Linux User,,,:/home:/bin/sh
second-user:x:1002:1002:Linux User,,,:/home:/bin/sh
third-user:x:1003:1003:Linux User,,,:/home:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = b"""root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
mail:x:8:
www-data:x:33:
operator:x:37:
users:x:100:
default-user:x:1000:
second-user:x:1002:
third-user:x:1003:
group-defined-in-image:x:50000:default-user
nogroup:x:65534:
"""
NGINX = b"""user www-data;
worker_processes 1;
pid /var/run/nginx.pid;
error_log /dev/stderr notice;
events {}
http {
  access_log /dev/stdout;
  server {
    listen PORT;
    root /www;
  }
}
"""


class PreparationError(Exception):
    """The images cannot be made on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program for an image: its place there, the Debian package, and its place in the package."""

    target: str
    package: str
    path: str


PROGRAMS = (
    Program("bin/busybox", "busybox", "bin/busybox"),
    Program("bin/pgrep", "procps", "usr/bin/pgrep"),
    Program("bin/ipcs", "util-linux", "usr/bin/ipcs"),
)
NGINX_PROGRAM = Program("bin/nginx", "nginx", "usr/sbin/nginx")
SET_UID_PROGRAM = Program("bin/effective-id", "coreutils", "usr/bin/id")
"""coreutils' id tells the effective user; busybox would give up a set-uid bit before it looks."""


def critest_images(cache: Path) -> Mapping[str, Image]:
    """Every image by its full name; packages are downloaded to `cache` once. Raises PreparationError."""
    base = layer_of(_busybox_entries(cache))
    nginx = layer_of(_program_entries(NGINX_PROGRAM, cache))
    busybox = image_of([base], Settings(command=("sh",)), host_architecture())

    def variant(label: str, user: str = "") -> Image:
        settings = Settings(command=("sh",), user=user, labels={"cri-shim.critest": label})
        return image_of([base], settings, host_architecture())

    def web_server(port: int) -> Image:
        configuration = layer_of(
            [
                Entry("etc/nginx"),
                Entry("etc/nginx/nginx.conf", NGINX.replace(b"PORT", str(port).encode()), mode=0o644),
                Entry("var/lib"),
                Entry("var/lib/nginx"),
                Entry("var/log"),
                Entry("var/log/nginx"),
            ]
        )
        settings = Settings(command=("nginx", "-g", "daemon off;"))
        return image_of([base, nginx, configuration], settings, host_architecture())

    set_uid = layer_of(_program_entries(SET_UID_PROGRAM, cache, mode=0o4755))
    tells_user = Settings(command=("sh", "-c", "echo Effective uid: $(effective-id -u)"))
    httpd = Settings(command=("sh", "-c", "echo httpd: serving /www; exec httpd -f -p 80 -h /www"))
    images = {
        f"{SUITE}/busybox:1.29-2": busybox,
        f"{SUITE}/nginx:1.14-2": web_server(80),
        f"{SUITE}/httpd:2.4.39-4": image_of([base], httpd, host_architecture()),
        f"{SUITE}/nonewprivs:1.3": image_of([base, set_uid], tells_user, host_architecture()),
        f"{STAGING}/hostnet-nginx-{host_architecture()}:latest": web_server(12003),
        SANDBOX_IMAGE: pause_image("sandbox"),
        "registry.k8s.io/pause:3.9": pause_image("3.9"),
        "k8s.gcr.io/pause:3.9": pause_image("3.9"),
        f"{STAGING}/test-image-predefined-group:latest": variant("predefined-group", "1000"),
        f"{DIGEST_REPOSITORY}:latest": variant("digest"),
        f"{STAGING}/test-image-latest:latest": variant("latest"),
        f"{STAGING}/test-image-tag:test": variant("tag"),
        f"{STAGING}/test-image-tag:all": variant("all"),
    }
    users = {
        "uid": "1002",
        "username": "www-data",
        "uid-group": "1003:50000",
        "username-group": "www-data:100",
    }
    for kind, user in users.items():
        images[f"{STAGING}/test-image-user-{kind}:latest"] = variant(kind, user)
    for number in (1, 2, 3):
        images[f"{STAGING}/test-image-{number}:latest"] = variant(str(number))
        images[f"{STAGING}/test-image-tags:{number}"] = variant("tags")
    return images


def _busybox_entries(cache: Path) -> list[Entry]:
    files: dict[str, Entry] = {}
    for program in PROGRAMS:
        files.update((entry.path, entry) for entry in _program_entries(program, cache))
    busybox = _found(PROGRAMS[0], cache)
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    links = [Entry(f"bin/{name}", hardlink="bin/busybox") for name in listed if f"bin/{name}" not in files]
    return [
        *DIRECTORIES,
        Entry("run"),
        Entry("var/run", symlink="/run"),
        Entry("etc/passwd", PASSWD, mode=0o644),
        Entry("etc/group", GROUP, mode=0o644),
        Entry("www/index.html", b"it works\n", mode=0o644),
        *_parents(files),
        *files.values(),
        *links,
    ]


def _program_entries(program: Program, cache: Path, mode: int = 0o755) -> list[Entry]:
    """The program and the libraries that it needs, in the places where its loader looks for them."""
    found = _found(program, cache)
    libraries = [Entry(library.lstrip("/"), Path(library).read_bytes()) for library in _libraries(found)]
    return [Entry(program.target, found.read_bytes(), mode=mode), *libraries]


def _parents(files: Iterable[str]) -> list[Entry]:
    known = {entry.path for entry in DIRECTORIES}
    parents = {str(parent) for file in files for parent in Path(file).parents if str(parent) != "."}
    return [Entry(path) for path in sorted(parents - known)]


def _found(program: Program, cache: Path) -> Path:
    """The program's file: the host's if its package is installed, else out of the downloaded package."""
    installed = Path("/", program.path)
    if installed.exists() and not is_static(installed.read_bytes()):
        return installed
    unpacked = cache / program.package / program.path
    if not unpacked.exists():
        _download(program.package, cache)
    if not unpacked.exists():
        raise PreparationError(f"Debian package {program.package} has no {program.path}")
    return unpacked


def _download(package: str, cache: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PreparationError(f"package {package} is not installed, and this is no Debian to get it from")
    place = cache / "packages"
    place.mkdir(parents=True, exist_ok=True)
    fetched = subprocess.run(["apt-get", "download", package], cwd=place, capture_output=True, text=True)
    archives = sorted(place.glob(f"{package}_*.deb"))
    if fetched.returncode != 0 or not archives:
        raise PreparationError(
            f"apt-get download {package} failed (apt-get update first?): {fetched.stderr.strip()}"
        )
    subprocess.run(["dpkg-deb", "--extract", archives[-1], cache / package], check=True)


def _libraries(program: Path) -> list[str]:
    """Absolute paths of the loader and the libraries, as ldd(1) tells them."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True)
    missing = [line.split()[0] for line in listed.stdout.splitlines() if "not found" in line]
    if listed.returncode != 0 or missing:
        raise PreparationError(
            f"{program} needs {', '.join(missing) or 'libraries'} that this {platform.machine()} host has not: "
            f"apt-get install the package that it comes from. {listed.stderr.strip()}"
        )
    return [word for line in listed.stdout.splitlines() for word in line.split() if word.startswith("/")]
