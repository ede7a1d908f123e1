#!/usr/bin/env bash
# Run the end-to-end tests on each containerd that we support, one after the other; arguments go to pytest.
#
#   matrix.sh [PYTEST ARGUMENT]...       E2E_MATRIX="1.6 2.1" chooses versions
set -euo pipefail
cd "$(dirname "$0")/.."

main() {
  local version failed=()
  for version in ${E2E_MATRIX:-1.6 1.7 2.1}; do
    echo "== containerd $version"
    E2E_CONTAINERD=$version .venv/bin/pytest e2e "$@" || failed+=("$version")
  done
  ((${#failed[@]} == 0)) || {
    echo "failed on containerd ${failed[*]}" >&2
    exit 1
  }
}

main "$@"
