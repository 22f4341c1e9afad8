/// What guidance combines, the prediction that it becomes and a sampler's step are one sum.
#include <ATen/record_function.h>

#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

thread_local int sums = 0;

/// Counts the sums of tensors that this thread computes.
class SumCounter {
 public:
  SumCounter() {
    sums = 0;
    handle_ =
        at::addThreadLocalCallback(at::RecordFunctionCallback([](const at::RecordFunction& call) {
                                     sums += std::string(call.name()) == "tiller::weighted_sum";
                                     return std::unique_ptr<at::ObserverContext>();
                                   }).scopes({at::RecordScope::FUNCTION}));
  }
  ~SumCounter() { at::removeCallback(handle_); }

 private:
  at::CallbackHandle handle_;
};

/// As cfg and a perturbed branch give it.
Denoiser guided(PredictionType type) {
  return [type](const Tensor& x, const NoiseLevel& level) {
    const Tensor c = toy_output(x, level.timestep), u = c.sin(), p = c.cos();
    const Combination output = 7.5 * difference(c, u) + 3 * difference(c, p) + c;
    return to_prediction(output, x, level, type);
  };
}

int sums_of_a_run(const std::string& name, const std::string& options, PredictionType type) {
  const Configured chosen(name, options);
  TrajectoryConfig config;
  config.steps = 10;
  const auto trajectory = chosen.sampler.trajectory(
      diffusers_schedule({"scaled_linear", 0.00085, 0.012}), with_options(config, chosen.options));
  SineNoise noise;
  const SumCounter counter;
  chosen.run(guided(type), toy_base(), trajectory, noise);
  return sums;
}

TEST(OnePass, AStepIsOneSum) {
  for (const auto type : {PredictionType::epsilon, PredictionType::v, PredictionType::sample})
    for (const auto& [name, options] :
         std::vector<std::pair<std::string, std::string>>{{"ddim", ""},
                                                          {"ddim", "eta=1"},
                                                          {"ddpm", ""},
                                                          {"euler", ""},
                                                          {"euler-a", ""},
                                                          {"lcm", ""},
                                                          {"tcd", "eta=0.3"}})
      EXPECT_EQ(sums_of_a_run(name, options, type), 10) << name << ' ' << options;
}

/// What later steps read of this one is a second sum.
TEST(OnePass, MultistepSamplersSumUpWhatTheyKeepToo) {
  for (const std::string name :
       {"dpm++2m", "dpm++3m", "ge", "lms", "pndm", "deis", "ipndm", "dpm++2s", "res-multistep"})
    EXPECT_LE(sums_of_a_run(name, "", PredictionType::epsilon), 22) << name;
}

}  // namespace
}  // namespace tiller::test
