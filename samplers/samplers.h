#pragma once
/// The samplers as functions. Each takes the noise already scaled to the trajectory's first level,
/// (B, C, H, W), keeps its state in float32 (float64 when x is), and returns the last level's
/// sample.
#include "samplers/noise.h"
#include "samplers/trajectory.h"

namespace tiller {

/// arXiv 2010.02502. Draws once a step when eta > 0.
struct DdimOptions {
  double eta = 0;  ///< 0: deterministic; 1: DDPM's variance.
};
Tensor sample_ddim(const Denoiser&, Tensor x, const Trajectory&, const DdimOptions&, NoiseSource&,
                   const Observer& = {});

/// arXiv 2006.11239 and 2102.09672. Draws once a step but for the last.
struct DdpmOptions {
  enum class Variance {
    automatic,     ///< learned_range where the model has it, else fixed_small.
    fixed_small,   ///< The posterior's variance.
    fixed_large,   ///< beta.
    learned_range  ///< Between the two in the logarithm, as the model says.
  };
  Variance variance = Variance::automatic;
  /// DDPMScheduler's rule: the last step too adds noise unless the network was told timestep 0.
  bool strict = false;
};
Tensor sample_ddpm(const Denoiser&, Tensor x, const Trajectory&, const DdpmOptions&, NoiseSource&,
                   const Observer& = {});

/// Noise added before a step, arXiv 2206.00364, algorithm 2. Draws only at steps where it adds any.
struct Churn {
  double churn = 0;  ///< S_churn.
  double from = 0;   ///< S_min: no churn at sigmas below.
  double to = 1e30;  ///< S_max: no churn at sigmas above.
  double noise = 1;  ///< S_noise.
  /// EulerDiscreteScheduler's order: the network sees the sample from before the churn.
  bool strict = false;
};

/// Euler's method on the probability flow ODE. alpha = 1.
Tensor sample_euler(const Denoiser&, Tensor x, const Trajectory&, const Churn&, NoiseSource&,
                    const Observer& = {});

/// Of samplers that step below the next level and add noise up to it, as in k-diffusion.
struct AncestralOptions {
  double eta = 1;      ///< 0: to the next level itself.
  double s_noise = 1;  ///< Scales the noise.
};

/// Euler's steps so. alpha = 1. Draws at each step, the last too, as
/// EulerAncestralDiscreteScheduler does.
Tensor sample_euler_ancestral(const Denoiser&, Tensor x, const Trajectory&, const AncestralOptions&,
                              NoiseSource&, const Observer& = {});

/// Heun's method, arXiv 2206.00364, algorithm 2: two evaluations a step, one at the step to zero.
/// alpha = 1. Churn::strict has no meaning here.
Tensor sample_heun(const Denoiser&, Tensor x, const Trajectory&, const Churn&, NoiseSource&,
                   const Observer& = {});

/// DPM-Solver-2, arXiv 2206.00927, as k-diffusion's sample_dpm_2 and KDPM2DiscreteScheduler have
/// it: along the slope at the geometric mean of a step's sigmas, two evaluations a step, one at the
/// step to zero. alpha = 1, or a flow's own levels. Churn::strict has no meaning here.
Tensor sample_dpm2(const Denoiser&, Tensor x, const Trajectory&, const Churn&, NoiseSource&,
                   const Observer& = {});
/// Its ancestral form, sample_dpm_2_ancestral and KDPM2AncestralDiscreteScheduler; on a flow's own
/// levels ComfyUI's. Draws once a step but for the step to zero.
Tensor sample_dpm2_ancestral(const Denoiser&, Tensor x, const Trajectory&, const AncestralOptions&,
                             NoiseSource&, const Observer& = {});

/// DPM-Solver++ multistep of up to third order, arXiv 2211.01095, algorithm 2, and its SDE form
/// (DPMSolverMultistepScheduler). Any alpha. Draws once a step, the last too, when eta > 0.
struct DpmMultistepOptions {
  enum class Solver { midpoint, heun };
  /// The weight of the second divided difference, which tends to half the second derivative. With
  /// H = (1 + eta) h and phi = (exp(-H) - 1) / H + 1 third order takes 1 - 2 phi / H. k-diffusion
  /// has half of it, which leaves second order, and so has diffusers without noise; with noise
  /// (eta > 0) diffusers has -1/2 - phi / H, which leaves first.
  enum class ThirdOrder { diffusers, k_diffusion, exact };
  int order = 2;                     ///< 1 to 3.
  Solver solver = Solver::midpoint;  ///< Of second order steps.
  bool lower_order_final = true;     ///< Runs of fewer than 15 steps end at orders 2 and 1.
  bool euler_at_final = false;       ///< All runs end at order 1, as those do that end at zero.
  double eta = 0;                    ///< 0: no noise; 1: the SDE's.
  double s_noise = 1;                ///< Scales the noise.
  ThirdOrder third_order = ThirdOrder::diffusers;
};
Tensor sample_dpmpp_multistep(const Denoiser&, Tensor x, const Trajectory&,
                              const DpmMultistepOptions&, NoiseSource&, const Observer& = {});

/// DPM-Solver++ (SDE), k-diffusion's sample_dpmpp_sde at r = 1/2: two evaluations a step, one at
/// the step to zero. alpha = 1. Its noise comes from a path over the sigmas (NoiseSource::path): of
/// seed S, that of DPMSolverSDEScheduler(noise_sampler_seed=S).
struct DpmSdeOptions {
  double eta = 1;      ///< 0: no noise.
  double s_noise = 1;  ///< Scales the noise.
};
Tensor sample_dpmpp_sde(const Denoiser&, Tensor x, const Trajectory&, const DpmSdeOptions&,
                        NoiseSource&, const Observer& = {});

/// DPM-Solver++(2S), arXiv 2211.01095, algorithm 1 at r = 1/2, over ancestral steps: k-diffusion's
/// sample_dpmpp_2s_ancestral, on a flow's own levels ComfyUI's. Two evaluations a step, one at the
/// step to zero. alpha = 1, or a flow's own levels. Draws once a step but for the step to zero.
Tensor sample_dpmpp_2s_ancestral(const Denoiser&, Tensor x, const Trajectory&,
                                 const AncestralOptions&, NoiseSource&, const Observer& = {});

/// RES, arXiv 2308.02157, the exponential multistep of second order in log sigma, over ancestral
/// steps, as ComfyUI's res_multistep has it. One evaluation a step. alpha = 1. Draws once a step
/// but for the step to zero.
Tensor sample_res_multistep(const Denoiser&, Tensor x, const Trajectory&, const AncestralOptions&,
                            NoiseSource&, const Observer& = {});

/// ER-SDE-Solver, arXiv 2309.06169, of up to third order, with its authors' default noise scale
/// phi(lambda) = lambda (exp(lambda^0.3) + 10) of lambda = sigma / alpha. One evaluation a step.
/// Any alpha. Draws once a step but for the step to zero.
struct ErSdeOptions {
  int order = 3;       ///< 1 to 3.
  double s_noise = 1;  ///< Scales the noise.
};
Tensor sample_er_sde(const Denoiser&, Tensor x, const Trajectory&, const ErSdeOptions&,
                     NoiseSource&, const Observer& = {});

/// Restart sampling, arXiv 2306.14878: Heun's method, which goes back up to `high` and down again
/// to the level nearest to `low`, `times` times in `steps` steps, when it has come there. alpha
/// = 1. Draws where it adds noise.
struct Restart {
  int steps, times;
  double low, high;  ///< Sigmas.
};
struct RestartOptions {
  std::vector<Restart> restarts;
  /// Share by which each step of a restart raises its noise, within Churn's sigmas.
  double gamma = 0.05;
  Churn churn;
};
Tensor sample_restart(const Denoiser&, Tensor x, const Trajectory&, const RestartOptions&,
                      NoiseSource&, const Observer& = {});

/// DPM-Solver++ singlestep, arXiv 2211.01095, algorithm 1 and its third order
/// (DPMSolverSinglestepScheduler): steps come in groups, of which each step goes anew from the
/// group's begin. Any alpha. Draws nothing.
struct DpmSinglestepOptions {
  int order = 2;  ///< 1 to 3: steps in a group.
  DpmMultistepOptions::Solver solver = DpmMultistepOptions::Solver::midpoint;
  bool lower_order_final = false;  ///< A group that ends with the run ends at order 1.
};
Tensor sample_dpmpp_singlestep(const Denoiser&, Tensor x, const Trajectory&,
                               const DpmSinglestepOptions&, NoiseSource&, const Observer& = {});

/// SA-Solver, arXiv 2309.05019, data prediction (SASolverScheduler). Any alpha. Draws once a step,
/// the last too.
struct SaOptions {
  int order = 2;                         ///< Of the predictor, 1 to 4.
  int corrector_order = 2;               ///< 1 to 4.
  bool lower_order_final = true;         ///< At most as many orders as there are steps left.
  double tau = 1;                        ///< 0: no noise; 1: the SDE's.
  double tau_low = 200, tau_high = 800;  ///< Network's timesteps beyond which tau is 0.
};
Tensor sample_sa(const Denoiser&, Tensor x, const Trajectory&, const SaOptions&, NoiseSource&,
                 const Observer& = {});

/// UniPC, arXiv 2302.04867, data prediction. Any alpha. Draws nothing.
struct UniPcOptions {
  enum class Basis { bh1, bh2 };
  int order = 2;                  ///< Of the predictor, 1 to 4; the corrector adds one.
  Basis basis = Basis::bh2;       ///< The paper's B(h): h or exp(h) - 1.
  bool corrector = true;          ///< false: UniP alone.
  bool lower_order_final = true;  ///< At most as many orders as there are steps left.
};
Tensor sample_unipc(const Denoiser&, Tensor x, const Trajectory&, const UniPcOptions&, NoiseSource&,
                    const Observer& = {});

/// DEIS, arXiv 2204.13902, the multistep form in log rho (rho = sigma / alpha): epsilon is
/// interpolated in log rho, and the integral over rho is exact. Any alpha. Draws nothing.
struct DeisOptions {
  int order = 2;                  ///< 1 to 3.
  bool lower_order_final = true;  ///< Runs of fewer than 15 steps end at orders 2 and 1.
};
Tensor sample_deis(const Denoiser&, Tensor x, const Trajectory&, const DeisOptions&, NoiseSource&,
                   const Observer& = {});

/// PNDM, arXiv 2202.09778: linear multistep of fourth order, which begins with one step of improved
/// Euler or three of Runge-Kutta (which need Trajectory::level_at). Draws nothing.
struct PndmOptions {
  enum class History { epsilon, v };
  bool skip_prk_steps = true;
  /// v: as PNDMScheduler does with a model of v prediction; variance preserving levels only.
  History history = History::epsilon;
};
Tensor sample_pndm(const Denoiser&, Tensor x, const Trajectory&, const PndmOptions&, NoiseSource&,
                   const Observer& = {});

/// Adams-Bashforth with the exact weights for uneven sigmas, k-diffusion's sample_lms. alpha = 1.
/// Draws nothing.
struct LmsOptions {
  int order = 4;        ///< 1 to 4.
  bool strict = false;  ///< After levels left out, weights of an order that lacks slopes.
};
Tensor sample_lms(const Denoiser&, Tensor x, const Trajectory&, const LmsOptions&, NoiseSource&,
                  const Observer& = {});

/// iPNDM, arXiv 2204.13902, as ComfyUI's sample_ipndm and sample_ipndm_v have it: slopes in sigma
/// combined with Adams-Bashforth's weights for even steps, or with weights for the steps' own
/// lengths. The latter aren't Adams-Bashforth's from order 3 on, which sample_lms has. alpha = 1,
/// or a flow's own levels. Draws nothing.
struct IpndmOptions {
  int order = 4;               ///< 1 to 4.
  bool variable_step = false;  ///< ipndm_v.
};
Tensor sample_ipndm(const Denoiser&, Tensor x, const Trajectory&, const IpndmOptions&, NoiseSource&,
                    const Observer& = {});

/// Gradient estimation, arXiv 2306.04848: along gamma epsilon_t + (1 - gamma) epsilon_{t+1}, on any
/// alpha. mu as in its authors' smalldiffusion: a step goes down to sigma' = (sigma_to /
/// sigma^mu)^(1 / (1 - mu)) and noise brings it back. gamma = 1 is DDIM, and with mu = 1/2 DDPM.
/// Draws once a step, the last too, when mu > 0.
struct GeOptions {
  double gamma = 2;
  double mu = 0;  ///< 0 to below 1.
};
Tensor sample_ge(const Denoiser&, Tensor x, const Trajectory&, const GeOptions&, NoiseSource&,
                 const Observer& = {});

/// Multistep consistency sampling, arXiv 2310.04378. Draws once a step but for the last.
struct LcmOptions {
  double timestep_scaling = 10;
};
Tensor sample_lcm(const Denoiser&, Tensor x, const Trajectory&, const LcmOptions&, NoiseSource&,
                  const Observer& = {});

/// Strategic stochastic sampling, arXiv 2402.19159, algorithm 4. Needs Trajectory::level_at. Draws
/// once a step but for the last when eta > 0.
struct TcdOptions {
  double eta = 0.3;  ///< The paper's gamma. 0: deterministic.
};
Tensor sample_tcd(const Denoiser&, Tensor x, const Trajectory&, const TcdOptions&, NoiseSource&,
                  const Observer& = {});

}  // namespace tiller
