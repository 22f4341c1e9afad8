#!/usr/bin/env bash
# Prints a Python for the programs of benchmarks/: BENCH_PYTHON where that is set, else one of .venv-bench, which gets the peers
# (PyTorch, diffusers, transformers) and matplotlib once.
set -euo pipefail
cd "$(dirname "$0")/.."
packages="torch==2.11.0 diffusers==0.42.1 transformers==5.24 accelerate safetensors numpy matplotlib"

if [ -n "${BENCH_PYTHON:-}" ]; then
  echo "$BENCH_PYTHON"
  exit 0
fi
stamp=.venv-bench/.tiller-bench
if [ "$(cat $stamp 2>/dev/null)" != "$packages" ]; then
  python=$(scripts/python.sh) || { echo "No Python with venv was found; see CONTRIBUTING.md." >&2; exit 1; }
  echo "Installing the peers into .venv-bench" >&2
  "$python" -m venv --clear .venv-bench
  # shellcheck disable=SC2086
  .venv-bench/bin/python -m pip --disable-pip-version-check install --progress-bar off $packages >&2
  echo "$packages" >$stamp
fi
echo .venv-bench/bin/python
