#pragma once
#include "models/control_net.h"
#include "tools/control_request.h"
#include "tools/request.h"

namespace tiller {

struct Generation;
struct GuidedBatch;

/// The images that steer a run, loaded.
struct Controls {
  std::vector<Control> nets;
  std::shared_ptr<const IpAdapter> adapter;  ///< nullptr: none.
  Tensor image, no_image;                    ///< (1, L, D) tokens for the prompt and its negative.
};

/// A size that isn't given becomes that of the first control image, down to multiples of
/// `multiple`.
void choose_control_size(const ControlRequest&, ImageSize& size, int64_t multiple);

/// Loads a request's ControlNets and IP-Adapter and reads their images, scaled to cover the run's
/// size. Throws Error or UsageError where one isn't there or doesn't go with the model.
Controls load_controls(const Generation&);

/// Gives a batch's conditionings what the run's controls are.
void apply_controls(const Generation&, GuidedBatch&);

}  // namespace tiller
