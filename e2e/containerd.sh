#!/usr/bin/env bash
# Unpack the containerd and runc of another Debian suite into a folder of its own, for E2E_CONTAINERD.
#
#   containerd.sh VERSION      1.6, 1.7 or 2.1; prints the folder
#
# The folder, ~/.cache/cri-shim/containerd/VERSION (or below E2E_CONTAINERDS), gets bin/ with programs that run on
# this machine, with the suite's own C library where this machine's is too old. apt works on package lists of its own in
# there; nothing is installed on the system.
set -euo pipefail

readonly ARCHIVE=https://deb.debian.org/debian
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly PROGRAMS=(containerd containerd-shim-runc-v2 ctr runc)

suite_of() {
  case $1 in
    1.6) echo bookworm ;;
    1.7) echo trixie ;;
    2.1) echo sid ;;
    *)
      echo "containerd.sh: no suite is known for version $1; there are 1.6, 1.7 and 2.1" >&2
      return 2
      ;;
  esac
}

# apt-get with state, cache and sources below the folder.
private_apt() {
  local apt=$folder/apt
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,etc}
  : >"$apt/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$ARCHIVE" "$suite" >"$apt/etc/sources.list"
  apt-get -qq \
    -o Dir::Etc::SourceList="$apt/etc/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status" \
    -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

# The libraries that the programs are linked with, as packages: those that Debian's runc and containerd name.
dependencies() {
  local package
  for package in "$folder"/debs/{containerd,runc}_*.deb; do
    dpkg-deb -f "$package" Depends
  done | tr ',|' '\n\n' | sed -E 's/^ *([a-z0-9.+-]+).*/\1/' | grep -E '^(libc6|lib[a-z0-9.+-]+)$' | sort -u
}

unpack() {
  local package
  for package in "$folder"/debs/*.deb; do
    dpkg-deb -x "$package" "$folder/root"
  done
}

# A program that this machine's C library is too old for gets the suite's own: loader and library path are written
# into it, and not given on a command line, because runc starts itself again by its own path.
install_program() {
  local name=$1 program loader libraries
  program=$(find "$folder/root/usr" -type f -name "$name" -perm -u+x | head -n 1)
  [[ -n $program ]] || return 0
  cp "$program" "$folder/bin/$name"
  if [[ $("$folder/bin/$name" --help 2>&1 || true) =~ GLIBC_[0-9.]+.*not\ found ]]; then
    loader=$(find "$folder/root" -name 'ld-linux-*.so.*' -type f | head -n 1)
    libraries=$(find "$folder/root/usr/lib" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$folder/bin/$name"
  fi
}

main() {
  local version=${1:?usage: containerd.sh VERSION} suite folder
  suite=$(suite_of "$version")
  folder=${E2E_CONTAINERDS:-$HOME/.cache/cri-shim/containerd}/$version
  if [[ ! -e $folder/complete ]]; then
    command -v patchelf >/dev/null || {
      echo "containerd.sh needs patchelf: apt-get install patchelf" >&2
      return 3
    }
    rm -rf "$folder"
    mkdir -p "$folder"/{debs,root,bin}
    private_apt update
    (cd "$folder/debs" && private_apt download containerd runc)
    local -a libraries
    mapfile -t libraries < <(dependencies)
    (cd "$folder/debs" && private_apt download "${libraries[@]}")
    unpack
    local name
    for name in "${PROGRAMS[@]}"; do install_program "$name"; done
    rm -rf "$folder/apt"
    "$folder/bin/containerd" --version >"$folder/complete"
  fi
  echo "$folder"
}

main "$@"
