#!/usr/bin/env bash
# Make the root file system of the virtual machine in a directory: root.sh DIRECTORY
set -euo pipefail
readonly directory=$1
readonly suite=bookworm mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
readonly packages=(
  apparmor busybox-static ca-certificates containernetworking-plugins curl dbus e2fsprogs iproute2 kmod
  linux-image-cloud-amd64 procps psmisc python3 python3-venv sudo systemd systemd-resolved systemd-sysv udev util-linux
)

# What the tests ask for comes from themselves.
asked=$(.venv/bin/python -c 'from e2e.harness.requirements import PROGRAMS; print(*sorted(set(PROGRAMS.values())))')
read -ra asked <<< "$asked"
include=$(IFS=,; echo "${packages[*]},${asked[*]}")
debootstrap --variant=minbase --include="$include" "$suite" "$directory" "$mirror" > "$directory.log" 2>&1 ||
  { tail -20 "$directory.log" >&2; exit 1; }

echo cri-shim-vm > "$directory/etc/hostname"
cat > "$directory/etc/fstab" <<'FSTAB'
/dev/vda /        ext4 defaults 0 1
/dev/vdb /project ext4 defaults 0 2
FSTAB
mkdir -p "$directory/project"
cat > "$directory/etc/systemd/network/ethernet.network" <<'NETWORK'
[Match]
Name=en* eth*
[Network]
DHCP=yes
NETWORK
cat > "$directory/etc/systemd/system/vm-tests.service" <<'SERVICE'
[Unit]
Description=End-to-end tests of cri-shim
RequiresMountsFor=/project
Wants=network-online.target
After=network-online.target apparmor.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/project/e2e/vm/guest.sh
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
SERVICE
# The tests start a containerd and a registry of their own.
chroot "$directory" systemctl --quiet mask containerd docker-registry prometheus prometheus-node-exporter \
  getty.target serial-getty@ttyS0
chroot "$directory" systemctl --quiet enable vm-tests systemd-networkd systemd-resolved systemd-networkd-wait-online

# The packages that the project needs, not the project: that comes on a disk of its own.
# Downloaded here, where pip knows the way to its index, for the Python of the suite.
mkdir -p "$directory/wheels"
.venv/bin/python -m pip download --quiet --quiet --disable-pip-version-check --dest "$directory/wheels" \
  --python-version 3.11 --only-binary=:all: \
  --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --no-deps \
  --require-hashes --requirement requirements/dev.lock
chroot "$directory" python3 -m venv /opt/venv
cp requirements/dev.lock "$directory/wheels/"
env -i PATH="$PATH" chroot "$directory" \
  /opt/venv/bin/pip install --quiet --no-cache-dir --no-index --find-links /wheels \
  --require-hashes --requirement /wheels/dev.lock
rm -rf "$directory/wheels"
rm -rf "$directory"/var/cache/apt/archives/*.deb "$directory"/var/lib/apt/lists/*
