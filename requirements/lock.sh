#!/usr/bin/env bash
# Write the locks anew from pyproject.toml: exact versions, and the hashes of every file that may be installed for them.
# run.lock is what the server needs, dev.lock that and the tools, in the same versions. Takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
  .venv/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file "$1" "${@:2}" pyproject.toml
  sed -i "1i # Made by \`make lock\` from pyproject.toml." "$1"
}

compile requirements/run.lock
compile requirements/dev.lock --extra dev --extra tracing --constraint requirements/run.lock
# pip-compile drops the condition under which pyproject.toml asks for it.
sed -i "s/^atheris==[^ ]*/& ; platform_machine == 'x86_64' and python_version < '3.15'/" requirements/dev.lock
