#!/usr/bin/env bash
# usage: scripts/format.sh [--check]
# Formats the sources, or fails naming those that aren't. Versions of clang-format disagree,
# so it has to be 14.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/packages.sh format
format=clang-format-14
command -v $format >/dev/null || format=clang-format
mode=-i
if [ "${1:-}" = --check ]; then mode="--dry-run -Werror"; fi
# shellcheck disable=SC2086
git ls-files -z --cached --others --exclude-standard '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 -r $format $mode
