#pragma once
#include "tools/command.h"

namespace tiller {

/// Images that steer beside the prompt, as a request names them.
struct ControlRequest {
  std::vector<std::string> nets;      ///< ControlNets, "DIR[:scale=1,from=0,to=1]".
  std::vector<std::string> images;    ///< "[canny:]FILE", one for each of them.
  std::vector<std::string> adapters;  ///< IP-Adapters, "FILE[:scale=0.6]".
  std::vector<std::string>
      adapter_images;          ///< Of one adapter all; of several "FILE[,FILE...]" each.
  double adapter_scale = 0.6;  ///< Where an adapter names none.
  std::string image_encoder;   ///< Folder of CLIP's; empty: near the IP-Adapter.
};

/// "DIR[:key=value,...]" taken apart. Throws UsageError.
struct ControlChoice {
  std::string path;
  double scale = 1, from = 0, to = 1;
};
ControlChoice control_choice(const std::string& text);

/// An IP-Adapter and the files that it reads.
struct AdapterChoice {
  std::string path;
  double scale = 1;
  std::vector<std::string> images;
};
/// Throws UsageError.
std::vector<AdapterChoice> adapter_choices(const ControlRequest&);

/// "[canny:]FILE" taken apart.
struct ControlImage {
  std::string file;
  bool canny = false;
};
ControlImage control_image(const std::string& text);

/// Writes the flags given over the request. Throws UsageError where one lacks its other half.
void apply_control_flags(const Flags&, ControlRequest&);

}  // namespace tiller
