#!/usr/bin/env bash
# Run the end-to-end tests that need cgroup v2, systemd or AppArmor in a small Debian under qemu.
#
#   e2e/vm/run.sh [pytest arguments]     without arguments the tests that matter there, and critest if it is on PATH
#   e2e/vm/run.sh critest [arguments]    critest alone; arguments are those of e2e/critest.sh
#
# The machine's root file system (debootstrap, Debian's cloud kernel, containerd, runc, the Python packages of the
# lock) is made once and kept in the cache; the project goes in on a second disk each time, with the newer
# containerd and runc of `e2e/containerd.sh 2.1` if that was run before: they have user namespaces. Neither disk is
# written to. qemu emulates the machine in software, so that it works everywhere; where KVM does, VM_ACCELERATOR=kvm
# makes it many times as fast.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly CACHES=${XDG_CACHE_HOME:-$HOME/.cache}/cri-shim
readonly CACHE=$CACHES/vm
readonly MEMORY=${VM_MEMORY:-3072} SECONDS_AT_MOST=${VM_SECONDS:-10800}
readonly ACCELERATOR=${VM_ACCELERATOR:-tcg}

[[ $(uname -m) == x86_64 ]] || { echo "the virtual machine is an x86_64 one; this machine is not" >&2; exit 2; }

missing=()
command -v qemu-system-x86_64 > /dev/null || missing+=(qemu-system-x86)
command -v debootstrap > /dev/null || missing+=(debootstrap)
command -v mkfs.ext4 > /dev/null || missing+=(e2fsprogs)
((${#missing[@]} == 0)) || { echo "missing on this machine: apt-get install ${missing[*]}" >&2; exit 2; }

key=$(cat e2e/vm/root.sh e2e/harness/requirements.py requirements/dev.lock | sha256sum | cut -c1-16)
root=$CACHE/root-$key
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ ! -f $root/disk ]]; then
  echo "making the root file system (once, some minutes) ..."
  rm -rf "$CACHE"/root-*
  mkdir -p "$root"
  e2e/vm/root.sh "$work/root"
  cp "$work"/root/boot/vmlinuz-* "$root/kernel"
  cp "$work"/root/boot/initrd.img-* "$root/initrd"
  truncate --size=6G "$root/disk.new"
  mkfs.ext4 -q -d "$work/root" "$root/disk.new"
  mv "$root/disk.new" "$root/disk"
  rm -rf "$work/root"
fi

# The project as it stands, with what is not in git yet, the generated modules, and critest with its packages.
mkdir -p "$work/project/vm-cache"
git ls-files --cached --others --exclude-standard -z | while IFS= read -r -d '' file; do
  [[ ! -f $file ]] || printf '%s\0' "$file"
done | tar --create --null --files-from=- api/wire | tar --extract --directory="$work/project"
if program=$(command -v critest); then
  install -D "$program" "$work/project/vm-bin/critest"
  [[ ! -d $CACHES/critest ]] || cp -r "$CACHES/critest" "$work/project/vm-cache/critest"
fi
newer=$CACHES/containerd/2.1
if [[ -f $newer/complete ]]; then
  mkdir -p "$work/project/vm-cache/containerd/2.1"
  cp -r "$newer"/{bin,root,complete} "$work/project/vm-cache/containerd/2.1/"
fi
# The server reads its version from the metadata of an installed package.
mkdir "$work/project/cri_shim.dist-info"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
printf 'Metadata-Version: 2.1\nName: cri-shim\nVersion: %s\n' "$version" > "$work/project/cri_shim.dist-info/METADATA"
printf '%s\n' "$@" > "$work/project/vm-arguments"
# Emulated, the compiling alone would take a minute at each start.
.venv/bin/python -m compileall -q "$work/project" > /dev/null || true
truncate --size=2G "$work/project.disk"
mkfs.ext4 -q -d "$work/project" "$work/project.disk"

log=${VM_LOG:-$work/console}
timeout "$SECONDS_AT_MOST" qemu-system-x86_64 \
  -accel "$ACCELERATOR" -cpu max -smp "$(nproc)" -m "$MEMORY" -no-reboot -display none \
  -kernel "$root/kernel" -initrd "$root/initrd" \
  -append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 security=apparmor apparmor=1" \
  -drive "file=$root/disk,format=raw,if=virtio,snapshot=on" \
  -drive "file=$work/project.disk,format=raw,if=virtio,snapshot=on" \
  -netdev user,id=net -device virtio-net-pci,netdev=net -device virtio-rng-pci \
  -serial stdio -monitor none < /dev/null | tee "$log"

status=$(sed -n 's/^.*tests in the virtual machine ended with \([0-9]*\).*$/\1/p' "$log" | tail -1)
[[ -n $status ]] || { echo "the virtual machine ended without a result" >&2; exit 1; }
exit "$status"
