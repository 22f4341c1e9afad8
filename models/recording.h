#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

namespace tiller {

/// Does recorded work again, with what its tensors hold by now. Nothing of the host's part of the
/// work happens again.
using Replay = std::function<void()>;

/// Records what `work` does on a device; the results of `work` hold nothing before the first
/// replay. Empty where nothing can be recorded. Throws c10::Error where `work` needs the host.
using Recorder = std::function<Replay(const std::function<void()>& work)>;

/// CUDA graphs, all from one pool of memory: replays come one after the other. Empty where the
/// device isn't CUDA or our kernels aren't loaded.
Recorder graph_recorder(at::Device);

}  // namespace tiller
