#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <cmath>

#include "guidance/sinkhorn.h"
#include "io/parallel.h"
#include "models/kernels/choose.h"
#include "models/kernels/sinkhorn.h"

/// A block of rows of logits stays in the cache: one matrix product serves a round of both
/// potentials. With E_ij = exp(S_ij + g_j - max_i), f_i = -(max_i + log sum_j E_ij), and since
/// S_ij + f_i + g_j = log(E_ij / sum_j E_ij), the new g_j is g_j - log sum_i (E_ij / sum_j E_ij).
namespace tiller {
namespace {

/// Values of a block of logits, 2 MiB, and its least height, below which products are slow.
constexpr int64_t kBlock = 1 << 19, kLeastHeight = 64;
/// A row is split into at most this many tasks, whatever the number of threads, so that sums are
/// always rounded in the same way.
constexpr int64_t kTasks = 8;
constexpr int64_t kTaskRows = 512;
/// Columns whose mass is smaller may have lost terms that exp rounded to nothing.
constexpr double kLeastMass = 1e-25;

constexpr auto table =
    kernels::chosen<kernels::sinkhorn_baseline, kernels::sinkhorn_avx2, kernels::sinkhorn_avx512>;

/// One head's logits rows (N, d) times columns (N, d), scaled already.
struct Head {
  Tensor rows, columns;
  int64_t size() const { return rows.size(0); }
};

int64_t tasks_of(int64_t size) {
  return std::clamp<int64_t>((size + kTaskRows - 1) / kTaskRows, 1, kTasks);
}

int64_t block_height(int64_t size) { return std::min(size, std::max(kBlock / size, kLeastHeight)); }

/// Calls f(first row, rows' logits as a matrix) for each block of the task's rows.
template <class F>
void each_block(const Head& head, int64_t task, const Tensor& block, const F& f) {
  const int64_t size = head.size(), tasks = tasks_of(size), height = block.size(0);
  const int64_t end = size * (task + 1) / tasks;
  const Tensor columns = head.columns.t();
  for (int64_t first = size * task / tasks; first < end; first += height) {
    const int64_t count = std::min(height, end - first);
    Tensor logits = block.narrow(0, 0, count);
    at::mm_out(logits, head.rows.narrow(0, first, count), columns);
    f(first, logits);
  }
}

/// f(head's index, task, first row, logits) for all blocks of all tasks of all heads, in parallel.
template <class F>
void each_block(const std::vector<Head>& heads, const F& f) {
  if (heads.empty()) return;
  const int64_t size = heads.front().size(), tasks = tasks_of(size);
  parallel_for(0, int64_t(heads.size()) * tasks, 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const Tensor block = at::empty({block_height(size), size}, at::kFloat);
    for (int64_t i = begin; i < end; ++i)
      each_block(heads[i / tasks], i % tasks, block,
                 [&](int64_t first, Tensor& logits) { f(i / tasks, i % tasks, first, logits); });
  });
}

/// f: of the block's rows. Adds their shares of the columns' masses, (N).
void add_masses(Tensor& logits, const float* g, float* f, double* masses) {
  const auto& kernel = table();
  const int64_t size = logits.size(1);
  std::vector<float> sums(size);
  float* row = logits.mutable_data_ptr<float>();
  for (int64_t i = 0; i < logits.size(0); ++i, row += size) {
    const auto [max, sum] = kernel.exponentials(row, g, size);
    f[i] = -(max + std::log(sum));
    kernel.add_scaled(row, 1 / sum, sums.data(), size);
  }
  for (int64_t j = 0; j < size; ++j) masses[j] += sums[j];
}

/// -LSE_i(S_ij + f_i) for the columns given, a few at a time.
void renew(const Head& head, const Tensor& f, const std::vector<int64_t>& columns, Tensor& g) {
  const int64_t most = std::max<int64_t>(1, kBlock / head.size());
  for (size_t first = 0; first < columns.size(); first += most) {
    const size_t end = std::min(columns.size(), first + most);
    const Tensor chosen = at::tensor(at::ArrayRef<int64_t>(columns).slice(first, end - first));
    const Tensor logits = at::mm(head.columns.index_select(0, chosen), head.rows.t());
    g.index_copy_(0, chosen, -at::logsumexp(logits + f, 1));
  }
}

/// A head's g after a round. masses: (tasks, N).
void update(const Head& head, const Tensor& f, const Tensor& masses, Tensor g) {
  const Tensor mass = masses.sum(0);
  const double* total = mass.const_data_ptr<double>();
  float* potential = g.mutable_data_ptr<float>();
  std::vector<int64_t> vanished;
  for (int64_t j = 0; j < head.size(); ++j) {
    if (total[j] > kLeastMass)
      potential[j] -= static_cast<float>(std::log(total[j]));
    else
      vanished.push_back(j);
  }
  renew(head, f, vanished, g);
}

std::vector<Head> heads_of(const Tensor& q, const Tensor& k) {
  const Tensor rows = (q.to(at::kFloat) * (-1 / std::sqrt(double(q.size(3))))).flatten(0, 1);
  const Tensor columns = k.to(at::kFloat).flatten(0, 1);
  std::vector<Head> heads;
  for (int64_t h = 0; h < rows.size(0); ++h) heads.push_back({rows[h], columns[h]});
  return heads;
}

Tensor potentials(const Tensor& q, const Tensor& k, int64_t iterations) {
  const auto heads = heads_of(q, k);
  const auto count = static_cast<int64_t>(heads.size());
  const int64_t size = q.size(2), tasks = tasks_of(size);
  const Tensor g = at::zeros({count, size}, at::kFloat), f = at::empty_like(g);
  for (int64_t round = 0; round < iterations; ++round) {
    const Tensor masses = at::zeros({count, tasks, size}, at::kDouble);
    each_block(heads, [&](int64_t h, int64_t task, int64_t first, Tensor& logits) {
      add_masses(logits, g.const_data_ptr<float>() + h * size,
                 f.mutable_data_ptr<float>() + h * size + first,
                 masses.mutable_data_ptr<double>() + (h * tasks + task) * size);
    });
    for (int64_t h = 0; h < count; ++h) update(heads[h], f[h], masses[h], g[h]);
  }
  return g.view({q.size(0), q.size(1), size});
}

}  // namespace

Tensor sinkhorn_attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g) {
  const Tensor values = v.flatten(0, 1), potentials = g.contiguous().flatten(0, 1);
  const Tensor out = at::empty({values.size(0), q.size(2), v.size(3)}, values.options());
  each_block(heads_of(q, k), [&](int64_t h, int64_t, int64_t first, Tensor& logits) {
    const int64_t count = logits.size(0), size = logits.size(1);
    const Tensor sums = at::empty({count, 1}, logits.options());
    float* row = logits.mutable_data_ptr<float>();
    const float* potential = potentials.const_data_ptr<float>() + h * size;
    for (int64_t i = 0; i < count; ++i, row += size)
      sums.mutable_data_ptr<float>()[i] = table().exponentials(row, potential, size).sum;
    Tensor part = out[h].narrow(0, first, count);
    at::mm_out(part, logits, values[h]);
    part.div_(sums);
  });
  return out.view(v.sizes());
}

TORCH_LIBRARY_IMPL(tiller, CPU, library) { library.impl("sinkhorn_potentials", potentials); }

}  // namespace tiller
