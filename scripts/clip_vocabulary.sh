#!/usr/bin/env bash
# Fetches CLIP's byte-pair vocabulary (MIT, OpenAI) into share/clip, once. Models in one file need it;
# diffusers folders bring their own.
exec "$(dirname "$0")/wheel_file.sh" open_clip_torch==3.3.0 open_clip/bpe_simple_vocab_16e6.txt.gz \
  924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a share/clip \
  "CLIP's vocabulary" "models in one file will ask for"
