#!/usr/bin/env bash
# Build dist/cri-shim_VERSION_ARCHITECTURE.deb: a virtual environment below /opt/cri-shim for the Python of the Debian
# that it is built on (/usr/bin/python3), the systemd unit, a default configuration, a man page and examples.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly PYTHON=/usr/bin/python3
readonly HOME_BELOW_OPT=/opt/cri-shim

field() { "$PYTHON" -c "import tomllib; print(tomllib.load(open('pyproject.toml', 'rb'))['project']['$1'])"; }

install_environment() {
  local environment=$tree$HOME_BELOW_OPT
  "$PYTHON" -m venv --without-pip "$environment"
  local into=(.venv/bin/pip -qq --disable-pip-version-check --python "$environment/bin/python" install)
  "${into[@]}" --require-hashes --requirement requirements/run.lock
  "${into[@]}" --no-deps "$wheel"
  # Scripts name the interpreter by its path, which is another one after installation.
  grep -rIl "^#!$environment" "$environment/bin" | xargs -r sed -i "1s,^#!$environment,#!$HOME_BELOW_OPT,"
  rm -f "$environment"/bin/activate* "$environment"/bin/Activate*
  find "$environment" -name __pycache__ -type d -prune -exec rm -rf {} +
  "$PYTHON" -m compileall -q -s "$tree" -p / -j 0 "$environment/lib"
}

install_files() {
  local examples=$tree/usr/share/doc/cri-shim/examples
  install -d "$tree"/{usr/bin,etc/cri-shim,lib/systemd/system,usr/share/man/man8} "$examples"
  ln -s "$HOME_BELOW_OPT/bin/cri-shim" "$tree/usr/bin/cri-shim"
  install -m 600 /dev/null "$tree/etc/cri-shim/config.toml" # registries' credentials may come to stand there
  .venv/bin/cri-shim config default >"$tree/etc/cri-shim/config.toml"
  install -m 644 deploy/systemd/cri-shim.service "$tree/lib/systemd/system/"
  .venv/bin/python deploy/debian/manual.py | gzip -9n >"$tree/usr/share/man/man8/cri-shim.8.gz"
  install -m 644 README.md CHANGELOG.md "$tree/usr/share/doc/cri-shim/"
  install -m 644 deploy/examples/pod.yaml deploy/cni/10-bridge.conflist deploy/kubelet/*.yaml "$examples/"
  install -m 644 deploy/containerd/config.toml "$examples/containerd-config.toml"
}

install_control() {
  local python next
  python=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  next=$("$PYTHON" -c 'import sys; print("%d.%d~" % (sys.version_info[0], sys.version_info[1] + 1))')
  install -d "$tree/DEBIAN"
  sed -e "s/@VERSION@/$(field version)/" -e "s/@ARCHITECTURE@/$(dpkg --print-architecture)/" \
    -e "s/@SIZE@/$(du -sk "$tree" | cut -f1)/" -e "s/@PYTHON@/$python/" -e "s/@NEXT_PYTHON@/$next/" \
    deploy/debian/control.in >"$tree/DEBIAN/control"
  echo /etc/cri-shim/config.toml >"$tree/DEBIAN/conffiles"
  install -m 755 deploy/debian/{postinst,prerm,postrm} "$tree/DEBIAN/"
}

main() {
  local scratch tree wheel
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # now: the variable is gone when the shell exits
  trap "rm -rf '$scratch'" EXIT
  tree=$scratch/tree
  .venv/bin/pip -qq --disable-pip-version-check wheel --no-deps --no-build-isolation --wheel-dir "$scratch" .
  wheel=$(echo "$scratch"/cri_shim-*.whl)
  install -d -m 755 "$tree"
  install_environment
  install_files
  install_control
  mkdir -p dist
  dpkg-deb --root-owner-group -Zxz --build "$tree" dist
}

main "$@"
