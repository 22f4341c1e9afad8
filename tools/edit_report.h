#pragma once
#include "tools/editing.h"
#include "tools/outputs.h"

namespace tiller {

/// An edit's images, (3, H, W) uint8 on the CPU, and what can be said of it.
struct EditOutcome {
  Tensor before, reconstruction, after;  ///< Without a reconstruction: undefined.
  bool exact = false;                    ///< Latents came back to the bit.
  double latent_error = 0;               ///< The largest.
  std::optional<double> blend_share;  ///< Of the latents that might change; none: without a blend.
  GuidanceCost cost;
  double seconds = 0;
};

/// Where an edit's files go: FILE.png, FILE-compare.png and FILE.html, or in a folder edited.png,
/// compare.png and index.html.
struct EditPaths {
  fs::path edited, compare, page;
};
EditPaths edit_paths(const Outputs&);

/// How far the image that came back is from the one that went.
struct Figures {
  double psnr = 0, ssim = 0, max_error = 0;  ///< Of 8-bit values.
};
Figures figures_of(const EditOutcome&);

/// The share of pixels that the edit changed by more than 8 of 255 in any channel, against the
/// reconstruction where there is one.
double changed_share(const EditOutcome&);

/// Writes the three files.
void write_edit(const EditPaths&, const Editing&, const EditOutcome&);

/// All of it for --json.
Json edit_json(const EditPaths&, const Editing&, const EditOutcome&);

}  // namespace tiller
