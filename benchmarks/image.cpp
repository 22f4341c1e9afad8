/// An image of a model that reads text, from its prompt to its pixels, whenever it is this side's
/// turn (turns.h). Loading is left out.
///
/// usage: bench_image MODEL PROMPT SIZE STEPS SAMPLER GUIDANCE DTYPE DEVICE
/// GUIDANCE may be "none". SIZE is in pixels.
#include <ATen/ATen.h>

#include <array>

#include "benchmarks/turns.h"
#include "tools/conditioning.h"
#include "tools/generation.h"

namespace tiller {
namespace {

GenerateRequest request_of(char** arguments) {
  GenerateRequest request;
  request.model = arguments[1];
  request.text.prompts = {arguments[2]};
  request.size = {std::stoll(arguments[3]), std::stoll(arguments[3])};
  request.steps = std::stoll(arguments[4]);
  request.sampler = arguments[5];
  request.guidances = {arguments[6]};
  request.dtype = arguments[7];
  request.device = arguments[8];
  return request;
}

void run(GenerateRequest request) {
  const at::Device device = measured_device(request.device);
  Generation generation = prepare(std::move(request));
  auto chosen = choose_guidances(generation.request.guidances, generation.model);
  take_turns(device, [&] {
    generation.prompts = encode_prompts(generation);
    Progress progress = Progress::silent();
    Tensor pixels;
    run_images(generation, chosen, generation.images, 1, progress,
               [&](size_t, const DoneImages& done) { pixels = done.pixels; });
    return std::array<double, 0>{};
  });
}

}  // namespace
}  // namespace tiller

int main(int count, char** arguments) {
  if (count != 9) {
    std::fputs("usage: bench_image MODEL PROMPT SIZE STEPS SAMPLER GUIDANCE DTYPE DEVICE\n",
               stderr);
    return 2;
  }
  tiller::run(tiller::request_of(arguments));
}
