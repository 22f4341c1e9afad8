#!/usr/bin/env bash
# Fetches CLIP's byte-pair vocabulary (MIT, OpenAI) into share/clip, once, from the Python package
# open_clip_torch. Models in one file need it; diffusers folders bring their own.
set -euo pipefail
cd "$(dirname "$0")/.."
version=3.3.0
name=bpe_simple_vocab_16e6.txt.gz
sha256=924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a
file=share/clip/$name

[ ! -e "$file" ] || exit 0

give_up() {
  echo "CLIP's vocabulary was not fetched ($1): models in one file will ask for $file." >&2
  exit 0
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "Fetching CLIP's vocabulary into share/clip" >&2
python=.venv/bin/python
if [ ! -x $python ]; then
  any=$(scripts/python.sh) && "$any" -m venv "$folder/venv" || give_up "no Python with venv"
  python=$folder/venv/bin/python
fi
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --progress-bar off --retries 1 \
  --dest "$folder" "open_clip_torch==$version" >&2 || give_up "pip failed"
"$python" -m zipfile -e "$folder"/open_clip_torch-*.whl "$folder"
echo "$sha256  $folder/open_clip/$name" | sha256sum --check --quiet >&2 || give_up "not the file expected"
mkdir -p "${file%/*}"
install -m 644 "$folder/open_clip/$name" "$file"
