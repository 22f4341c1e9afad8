// bench_set_statistics [IMAGES] [WIDTH]: memory and seconds of what is kept of a set's features,
// and of its figures, against a reference of as many images. Features are random; no network runs.
#include <ATen/ATen.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "metrics/set_metrics.h"
#include "tools/memory_use.h"

namespace tiller {
namespace {

constexpr int64_t batch = 50;

FeatureSet random_set(const FeatureNetwork& network, int64_t images, double shift) {
  FeatureCollector collector(network, {.features = true}, images);
  for (int64_t first = 0; first < images; first += batch)
    collector.add(
        {.pooled = at::randn({std::min(batch, images - first), network.width}).relu() + shift});
  return collector.finish();
}

void time(const char* what, const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%-24s %7.1f s  %6.0f MiB at most\n", what, seconds.count(),
              double(peak_memory()) / (1 << 20));
  std::fflush(stdout);
}

void run(int64_t images, int64_t width) {
  const FeatureNetwork network{.name = "random", .distance = "FID", .width = width};
  FeatureSet generated;
  std::optional<Reference> reference;
  time("collect both sets", [&] {
    generated = random_set(network, images, 0.01);
    reference.emplace(random_set(network, images, 0));
  });
  const Comparison comparison{network, generated, &*reference};
  for (const auto* metric : choose_metrics({"fid,kid"}))
    time(metric->name.c_str(), [&] {
      for (const auto& figure : metric->compute(comparison))
        std::printf("%s %.6g\n", figure.key.c_str(), figure.value);
    });
}

}  // namespace
}  // namespace tiller

int main(int argc, char** argv) {
  const auto argument = [&](int i, int64_t usual) {
    return argc > i ? std::strtoll(argv[i], nullptr, 10) : usual;
  };
  at::manual_seed(0);
  tiller::run(argument(1, 50'000), argument(2, 2048));
}
