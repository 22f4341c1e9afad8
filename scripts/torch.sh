#!/usr/bin/env bash
# Installs LibTorch into .venv from PyPI's wheel, unless it is there or Torch_DIR names another.
# Without a GPU: the wheel alone and the two small libraries that its CPU part is linked with,
# which saves the download of 2.7 GB of NVIDIA's libraries. With one also nvcc, which compiles
# Tiller's kernels, where the machine has none that knows C++20.
set -euo pipefail
cd "$(dirname "$0")/.."
version=2.11.0
stamp=.venv/.tiller-torch

[ -z "${Torch_DIR:-}" ] || exit 0

kind=cpu
if [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1; then kind=cuda+nvcc; fi
case "$(cat "$stamp" 2>/dev/null)" in
  "$version cuda+nvcc" | "$version $kind") exit 0 ;;
esac

python=$(scripts/python.sh) || { echo "No Python with venv was found; see CONTRIBUTING.md." >&2; exit 1; }
[ -e "$stamp" ] || "$python" -m venv --clear .venv
rm -f "$stamp"
pip() { .venv/bin/python -m pip --disable-pip-version-check install --progress-bar off "$@" >&2; }

# The CUDA toolkit's version that torch pins; nothing for a wheel built without CUDA.
toolkit_version() {
  sed -n 's/^Requires-Dist: cuda-toolkit\[.*\]==\([0-9.]*\).*/\1/p' \
    .venv/lib/python3*/site-packages/torch-"$version"*.dist-info/METADATA
}

have_nvcc() {
  local nvcc major
  for nvcc in nvcc "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" /usr/local/cuda/bin/nvcc; do
    major=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
    if [ "${major:-0}" -ge 12 ]; then return 0; fi
  done
  return 1
}

echo "Installing LibTorch $version ($kind) into .venv" >&2
if [ $kind = cuda+nvcc ]; then
  pip "torch==$version"
  toolkit=$(toolkit_version)
  [ -z "$toolkit" ] || have_nvcc || pip "cuda-toolkit[cccl,crt,cudart,nvcc,nvvm]==$toolkit"
else
  pip --no-deps "torch==$version"
  toolkit=$(toolkit_version)
  [ -z "$toolkit" ] || pip --no-warn-conflicts "cuda-toolkit[cudart,cupti]==$toolkit"
fi
echo "$version $kind" >"$stamp"
