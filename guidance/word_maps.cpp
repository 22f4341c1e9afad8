#include "guidance/word_maps.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tiller {
namespace {

constexpr double kSuppression = 0.1;

/// Every word's tokens of each image, one after the other, filled up with zeros: (B, tokens).
Tensor columns_of(const std::vector<WordTokens>& words) {
  std::vector<std::vector<int64_t>> images(words.front().size());
  size_t longest = 0;
  for (size_t image = 0; image < images.size(); ++image) {
    for (const auto& word : words)
      images[image].insert(images[image].end(), word[image].begin(), word[image].end());
    longest = std::max(longest, images[image].size());
  }
  std::vector<Tensor> rows;
  for (auto& image : images) {
    image.resize(longest);
    rows.push_back(at::tensor(image, at::kLong));
  }
  return at::stack(rows);
}

/// (B, heads, N, L) in float32.
Tensor scores_of(const Tensor& q, const Tensor& k) {
  const double scale = 1 / std::sqrt(double(q.size(3)));
  return at::matmul(q.to(at::kFloat) * scale, k.to(at::kFloat).transpose(2, 3));
}

}  // namespace

Tensor attention_columns(const Tensor& q, const Tensor& k, const Tensor& columns) {
  const Tensor scores = scores_of(q, k);
  const Tensor index =
      columns.unsqueeze(1).unsqueeze(1).expand({-1, scores.size(1), scores.size(2), -1});
  return (scores.gather(3, index) - scores.logsumexp(3, /*keepdim=*/true)).exp();
}

AttentionMaps::AttentionMaps(std::vector<WordTokens> words, int64_t height, int64_t width)
    : words_(std::move(words)), height_(height), width_(width), columns_(columns_of(words_)) {}

bool AttentionMaps::reads(const Site& site) {
  return site.part != Part::mid &&
         (site.downscale == 1 || site.downscale == 2 || site.downscale == 4);
}

void AttentionMaps::observe(const Site& site, const Tensor& q, const Tensor& k) {
  if (!reads(site) || columns_.size(1) == 0) return;
  columns_ = columns_.to(q.device());
  Sum& sum = sums_[site.order];
  sum.grid = token_grid(site, height_, width_);
  const Tensor probabilities = attention_columns(q, k, columns_);
  sum.probabilities =
      sum.probabilities.defined() ? sum.probabilities + probabilities : probabilities;
}

/// (B, tokens, H, W), averaged over heads and blocks.
Tensor AttentionMaps::token_maps() const {
  const int64_t images = columns_.size(0), tokens = columns_.size(1);
  Tensor total = at::zeros({images, tokens, height_, width_}, columns_.options().dtype(at::kFloat));
  int64_t maps = 0;
  for (const auto& [order, sum] : sums_) {
    const int64_t heads = sum.probabilities.size(1);
    const Tensor small = sum.probabilities.transpose(2, 3).reshape(
        {images * heads, tokens, sum.grid.height, sum.grid.width});
    const Tensor large = at::upsample_bicubic2d(small, {height_, width_}, /*align_corners=*/false);
    total += large.clamp_min(0).view({images, heads, tokens, height_, width_}).sum(1);
    maps += heads;
  }
  return (total / std::max<int64_t>(1, maps)).cpu();
}

Tensor AttentionMaps::maps() const {
  const Tensor tokens = token_maps();
  const int64_t images = tokens.size(0);
  Tensor result = at::zeros({images, int64_t(words_.size()), height_, width_});
  for (int64_t image = 0; image < images; ++image) {
    int64_t first = 0;
    for (size_t word = 0; word < words_.size(); ++word) {
      const auto count = int64_t(words_[word][image].size());
      if (count > 0)
        result[image][int64_t(word)].copy_(tokens[image].narrow(0, first, count).mean(0));
      first += count;
    }
  }
  return result;
}

Tensor suppressed_scores(const Tensor& scores, const Tensor& factors) {
  return (scores - scores.amin(3, /*keepdim=*/true)) * factors.unsqueeze(1).unsqueeze(1);
}

Tensor suppressed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                            const Tensor& factors) {
  const Tensor probabilities = suppressed_scores(scores_of(q, k), factors).softmax(3);
  return at::matmul(probabilities, v.to(at::kFloat)).to(v.scalar_type());
}

class WordEffects::Suppression final : public Perturbation {
 public:
  explicit Suppression(const WordTokens& word) : word_(word) {}
  Kind kind() const override { return Kind::text; }
  bool acts_at(const Site&) const override { return true; }
  Tensor attention(const Site&, const Tensor& q, const Tensor& k, const Tensor& v) const override {
    return suppressed_attention(q, k, v, factors_);
  }
  /// context: (B, L, D).
  void prepare(const Tensor& context) {
    if (factors_.defined()) return;
    Tensor factors = at::ones({context.size(0), context.size(1)});
    for (size_t image = 0; image < word_.size(); ++image)
      for (const int64_t token : word_[image]) factors[int64_t(image)][token].fill_(kSuppression);
    factors_ = factors.to(context.device());
  }

 private:
  const WordTokens& word_;
  Tensor factors_;  // (B, L)
};

WordEffects::WordEffects(std::vector<WordTokens> words, int every)
    : words_(std::move(words)), every_(every) {
  for (const auto& word : words_) suppressions_.push_back(std::make_unique<Suppression>(word));
}

WordEffects::~WordEffects() = default;

void WordEffects::begin_run() {
  first_ = last_ = -1;
  sum_ = Tensor();
}

void WordEffects::begin_step(const GuidanceStep& step) {
  const int now = step.context.step;
  if (first_ < 0) first_ = now;
  measures_ = now != last_ && (now - first_) % every_ == 0;
  if (measures_)
    for (auto& suppression : suppressions_) suppression->prepare(step.positive->context);
}

std::vector<Request> WordEffects::requests(const GuidanceStep& step,
                                           std::span<const Tensor> answers) {
  if (!measures_ || !answers.empty()) return {};
  std::vector<Request> requests;
  for (const auto& suppression : suppressions_)
    requests.push_back({.branch = {step.positive, suppression.get()}});
  return requests;
}

Combination WordEffects::delta(const GuidanceStep& step, std::span<const Tensor> answers) {
  if (!measures_) return {};
  const auto epsilon = [&](const Tensor& answer) -> Tensor {
    return to_prediction(answer, step.x.to(at::kFloat), step.level, step.prediction).epsilon;
  };
  const Tensor whole = epsilon(answers[0]);
  std::vector<Tensor> effects;
  for (const Tensor& without : answers.subspan(1))
    effects.push_back((whole - epsilon(without)).abs().mean(1));
  const Tensor effect = at::stack(effects, 1);
  sum_ = sum_.defined() ? sum_ + effect : effect;
  last_ = step.context.step;
  return {};
}

Tensor WordEffects::maps() const {
  Tensor maps = sum_.cpu().clone();
  for (size_t word = 0; word < words_.size(); ++word)
    for (size_t image = 0; image < words_[word].size(); ++image)
      if (words_[word][image].empty()) maps[int64_t(image)][int64_t(word)].zero_();
  return maps;
}

}  // namespace tiller
