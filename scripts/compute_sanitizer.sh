#!/usr/bin/env bash
# usage: scripts/compute_sanitizer.sh [BUILD]
# Runs the tests of the CUDA kernels under compute-sanitizer's tools, each tensor in an allocation of its own. Takes a GPU, the
# built tests (`make tests`) and CUDA's compute-sanitizer. Fails where a tool finds something, in LibTorch's kernels too.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}

if ! nvidia-smi -L >/dev/null 2>&1; then
  echo "compute_sanitizer.sh: no NVIDIA GPU was found: nothing is checked."
  exit 0
fi
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
if ! command -v compute-sanitizer >/dev/null; then
  echo "compute_sanitizer.sh: compute-sanitizer was not found, expected it in PATH or in \$CUDA_HOME/bin (package cuda-sanitizer)." >&2
  exit 1
fi

# Graphs need LibTorch's own allocator, and whole networks take hours under the tools.
tests='*Cuda.*-Networks*:Identity*:Recording*:EvaluationGraphs*'
# cuDNN's attention on Hopper, which a test beside our kernel goes through, breaks off under synccheck, and initcheck doesn't see
# what it writes.
others=$tests:SinkhornCuda.AttendsAsTheDenseForm
failed=0
for tool in memcheck racecheck synccheck initcheck; do
  for folder in models guidance samplers; do
    echo "$tool, test_$folder"
    case $tool in memcheck | racecheck) filter=$tests ;; *) filter=$others ;; esac
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool --error-exitcode 1 \
      "$build/tests/test_$folder" --gtest_filter="$filter" || failed=1
  done
done
exit $failed
