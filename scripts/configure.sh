#!/usr/bin/env bash
# usage: scripts/configure.sh BUILD_FOLDER [CMAKE_ARGUMENT...]
# Runs CMake in a fresh build folder and when the arguments differ from the last time. Later changes
# of the CMake files are noticed by the build itself.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
shift

arguments=("$@")
if [ -n "${Torch_DIR:-}" ]; then arguments+=("-DTorch_DIR=$(realpath "$Torch_DIR")"); else arguments+=(-UTorch_DIR); fi
stamp=$build/.configured
want="${arguments[*]} $(cat .venv/.tiller-torch 2>/dev/null || true)"
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ]; then exit 0; fi

generator=()
if [ ! -e "$build/CMakeCache.txt" ] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
mkdir -p "$build"
rm -f "$stamp"
cmake "${generator[@]}" -S . -B "$build" "${arguments[@]}"
echo "$want" >"$stamp"
