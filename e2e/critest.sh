#!/bin/sh
# Runs critest from PATH against a private instance; options as `e2e/critest.sh --help` tells.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m e2e.critest "$@"
