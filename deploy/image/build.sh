#!/usr/bin/env bash
# Build dist/cri-shim-VERSION.oci.tar, an image for `ctr images import` or a registry: Debian's smallest root file system
# with Python, the environment below /opt/cri-shim, and the programs that the server calls. No Docker is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly SUITE=bookworm
readonly PACKAGES=python3,iptables,nftables,runc,ca-certificates
readonly NAME=${IMAGE_NAME:-docker.io/library/cri-shim}

# What a container has no use for: package manager's state, documentation, translations.
readonly UNUSED=(var/cache/apt var/lib/apt/lists var/log usr/share/doc usr/share/man usr/share/locale usr/share/info)

install_environment() {
  local wheels=$root/wheels python
  mkdir "$wheels"
  .venv/bin/pip -qq --disable-pip-version-check wheel --no-deps --no-build-isolation --wheel-dir "$wheels" .
  # For the root's own interpreter, whatever this machine's is; the root itself needs no network and no certificates.
  python=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  .venv/bin/pip -qq --disable-pip-version-check download --only-binary=:all: --python-version "$python" \
    --require-hashes --dest "$wheels" --requirement requirements/run.lock
  chroot "$root" python3 -m venv /opt/cri-shim
  chroot "$root" /opt/cri-shim/bin/pip -qq --disable-pip-version-check install --no-index --find-links /wheels cri-shim
  # By no time of the source, which is another one in the archive: Python would compile everything at each start.
  chroot "$root" /opt/cri-shim/bin/python -m compileall -qf -j 0 --invalidation-mode unchecked-hash \
    /opt/cri-shim/lib "/usr/lib/python$python" /usr/share/python3
  rm -rf "$wheels"
}

main() {
  command -v debootstrap >/dev/null || { echo "missing on this machine: apt-get install debootstrap" >&2; exit 2; }
  local scratch root version
  version=$(.venv/bin/python -c "import tomllib; print(tomllib.load(open('pyproject.toml', 'rb'))['project']['version'])")
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # now: the variable is gone when the shell exits
  trap "rm -rf '$scratch'" EXIT
  root=$scratch/root
  debootstrap --variant=minbase --include="$PACKAGES,python3-venv" "$SUITE" "$root" >"$scratch/debootstrap.log" || {
    tail "$scratch/debootstrap.log" >&2
    exit 1
  }
  install_environment
  rm -rf "${UNUSED[@]/#/$root/}"
  mkdir -p "$root/var/log" dist
  tar --create --directory "$root" --sort=name --numeric-owner --mtime=@0 --one-file-system . |
    .venv/bin/python deploy/image/archive.py "$NAME:$version" >"dist/cri-shim-$version.oci.tar"
  echo "dist/cri-shim-$version.oci.tar is $NAME:$version"
}

main "$@"
