#!/usr/bin/env bash
# usage: scripts/demo.sh PROGRAM FOLDER
# Draws the demo's labelled grid, one row per guidance and one seed a column, unless it is newer than
# all that it is made from.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1 grid=$2/guidance.png

if [ -e "$grid" ] && [ -z "$(find "$program" weights "$0" -newer "$grid")" ]; then
  echo "$grid is up to date."
  exit 0
fi
mkdir -p "$2"
"$program" generate --count 10 --seed 20 --steps 30 --sampler ddpm --clip-denoised --output "$grid" \
  --compare none --compare cfg:scale=2 --compare tpg:scale=2 --compare asag:scale=2 \
  --compare "cfg:scale=2 + tpg:scale=2"
echo "Drew $grid."
