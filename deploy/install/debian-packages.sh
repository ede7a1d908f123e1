#!/usr/bin/env bash
# Install the Debian packages that cri-shim needs on this machine, and only those that are missing.
#
#   debian-packages.sh run     what `make run` needs: containerd, runc, CNI plugins, iptables, a static busybox
#   debian-packages.sh test    the same, and what the end-to-end tests need: a registry, openssl, Prometheus
#
# No service is started, stopped or restarted: a containerd that this machine already runs is not touched,
# and one that is installed here stays off. It works with and without systemd, as root or, when nothing is
# missing, as anybody.
set -euo pipefail

readonly POLICY=/usr/sbin/policy-rc.d
readonly PYTHON=${PYTHON:-python3}

usage() {
  sed -n 's/^#   //p' "$0" >&2
  exit 2
}

# Programs and files are looked for instead of packages, because other vendors' packages bring them as well
# (containerd.io has containerd and runc) and Debian's own would push those out.
missing_packages() {
  command -v containerd >/dev/null || echo containerd
  command -v runc >/dev/null || echo runc
  [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge ]] || echo containernetworking-plugins
  command -v iptables >/dev/null || echo iptables
  busybox_is_static || echo busybox-static
  # `venv` can be imported without the package; making an environment with pip in it cannot.
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  if [[ $1 == test ]]; then
    command -v docker-registry >/dev/null || echo docker-registry
    command -v openssl >/dev/null || echo openssl
    command -v promtool >/dev/null || echo prometheus
  fi
}

# A dynamic busybox is no use in an image that holds nothing else.
busybox_is_static() {
  local busybox
  busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1
}

# Maintainer scripts ask policy-rc.d before they start a service; 101 means no. A policy of the machine's own
# stays in force.
forbid_service_starts() {
  [[ -e $POLICY ]] && return
  printf '#!/bin/sh\nexit 101\n' >"$POLICY"
  trap 'rm -f "$POLICY"' EXIT
  chmod 755 "$POLICY"
}

install_packages() {
  apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@" >/dev/null
}

main() {
  [[ $# == 1 && $1 =~ ^(run|test)$ ]] || usage
  local -a missing
  mapfile -t missing < <(missing_packages "$1")
  ((${#missing[@]})) || return 0
  if ! command -v apt-get >/dev/null; then
    echo "This is no Debian: install what provides ${missing[*]} by hand, then call again." >&2
    exit 1
  fi
  if ((EUID)); then
    echo "Missing Debian packages: ${missing[*]}. Call again as root, or install them first." >&2
    exit 1
  fi
  echo "Installing ${missing[*]}"
  forbid_service_starts
  export DEBIAN_FRONTEND=noninteractive
  # Package lists are fetched only when the ones at hand are absent or too old to install from.
  install_packages "${missing[@]}" </dev/null 2>/dev/null || {
    apt-get -qq update </dev/null
    install_packages "${missing[@]}" </dev/null
  }
}

main "$@"
