#include "models/retold_network.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

class RetoldNetwork final : public Network {
 public:
  RetoldNetwork(std::unique_ptr<Network> own, const EdmPreconditioner& by)
      : own_(std::move(own)), by_(by) {}
  const std::vector<Site>& sites() const override { return own_->sites(); }
  int64_t in_channels() const override { return own_->in_channels(); }
  int64_t out_channels() const override { return own_->out_channels(); }
  int64_t size_multiple() const override { return own_->size_multiple(); }
  int64_t time_channels() const override { return own_->time_channels(); }
  int up_blocks() const override { return own_->up_blocks(); }
  Tensor forward(const Tensor& x, const Tensor& t, Rows& rows) const override;

 private:
  std::unique_ptr<Network> own_;
  EdmPreconditioner by_;
};

Tensor RetoldNetwork::forward(const Tensor& x, const Tensor& t, Rows& rows) const {
  const EdmRetelling told = retell(by_, t);
  const auto column = [](const Tensor& values) { return values.reshape({-1, 1, 1, 1}); };
  const int64_t channels = out_channels();
  const Tensor y = x.narrow(1, 0, channels).to(at::kFloat);
  Tensor input = y * column(told.in);
  if (x.size(1) > channels)  // an image that is edited isn't noisy
    input = at::cat({input, x.narrow(1, channels, x.size(1) - channels).to(at::kFloat)}, 1);
  const Tensor output = own_->forward(input, told.timestep, rows).narrow(1, 0, channels);
  const auto spread = [&](const Tensor& values) { return rows.expand(rows.roots(values)); };
  return spread(column(told.skip) * y) + spread(column(told.out)) * output;
}

}  // namespace

std::unique_ptr<Network> retold(std::unique_ptr<Network> network, const EdmPreconditioner& by) {
  if (by == EdmPreconditioner{}) return network;
  return std::make_unique<RetoldNetwork>(std::move(network), by);
}

}  // namespace tiller
