#pragma once

namespace tiller {

/// Seconds since this process was started, loading its libraries included; where the system doesn't
/// say, since this program's own code began.
double process_age();

}  // namespace tiller
