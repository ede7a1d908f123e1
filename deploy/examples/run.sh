#!/usr/bin/env bash
# The demonstration behind `make run`: serve on a private containerd, run pod.yaml on it, serve on until Ctrl-C.
# An argument is the directory to use and to keep; without one it is a temporary directory.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec .venv/bin/python -m cri.app.demonstration deploy/examples/pod.yaml "$@"
