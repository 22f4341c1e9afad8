#include "metrics/reference_statistics.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <sstream>

#include "io/error.h"

namespace tiller {
namespace {

using Arrays = std::map<std::string, Tensor>;

std::string describe(const Tensor& array) {
  std::ostringstream text;
  text << array.scalar_type() << " of shape " << array.sizes();
  return text.str();
}

[[noreturn]] void refuse(const std::string& where, const std::string& found,
                         const std::string& expected) {
  throw Error(where + ": got " + found + ", expected " + expected + ".");
}

Moments moments_from(const Tensor& mean, const Tensor& covariance, const std::string& where) {
  if (!mean.is_floating_point() || mean.dim() != 1 || mean.size(0) == 0)
    refuse(where, describe(mean) + " for the mean", "floating point of shape [width]");
  const int64_t width = mean.size(0);
  if (!covariance.is_floating_point() || covariance.sizes() != at::IntArrayRef({width, width}))
    refuse(
        where, describe(covariance) + " for the covariance",
        "floating point of shape [" + std::to_string(width) + ", " + std::to_string(width) + "]");
  Moments moments{0, mean.to(at::kDouble), covariance.to(at::kDouble)};
  try {
    check_comparable(moments, moments);
  } catch (const Error& error) {
    throw Error(where + ": " + error.what());
  }
  return moments;
}

std::optional<Moments> find_moments(const Arrays& arrays, const std::string& suffix,
                                    const std::string& where) {
  const auto mean = arrays.find("mu" + suffix), covariance = arrays.find("sigma" + suffix);
  if (mean == arrays.end() && covariance == arrays.end()) return {};
  if (mean == arrays.end() || covariance == arrays.end())
    refuse(where, "one of 'mu" + suffix + "' and 'sigma" + suffix + "'", "both");
  return moments_from(mean->second, covariance->second, where);
}

int64_t find_count(const Arrays& arrays) {
  const auto found = arrays.find("count");
  if (found == arrays.end() || found->second.scalar_type() != at::kLong || found->second.dim() > 0)
    return 0;
  return std::max<int64_t>(found->second.item<int64_t>(), 0);
}

std::vector<std::string> names_in(const fs::path& path) {
  NumpyReader reader(path);
  std::vector<std::string> names;
  while (reader.next()) names.push_back(printable(reader.name()));
  return names;
}

[[noreturn]] void refuse_content(const fs::path& path, const std::vector<std::string>& names,
                                 const std::string& expected) {
  refuse(path.string(),
         names.empty() ? "no arrays"
                       : (names.size() == 1 ? "the array " : "the arrays ") + enumerate(names),
         expected);
}

bool is_images(const NumpyHeader& header) {
  const auto& shape = header.shape;
  return header.dtype == at::kByte && shape.size() == 4 && shape[3] == 3 &&
         std::find(shape.begin(), shape.end(), 0) == shape.end();
}

}  // namespace

ReferenceStatistics load_reference_statistics(const fs::path& path) {
  const auto names = names_in(path);
  const Arrays arrays = load_numpy(path, {"mu", "sigma", "mu_s", "sigma_s", "count"});
  ReferenceStatistics statistics;
  statistics.pool = find_moments(arrays, "", path.string());
  statistics.spatial = find_moments(arrays, "_s", path.string());
  statistics.images = std::find(names.begin(), names.end(), "arr_0") != names.end();
  if (!statistics.pool && !statistics.spatial && !statistics.images)
    refuse_content(path, names, "'mu' and 'sigma' (statistics) or 'arr_0' (images)");
  if (statistics.pool) statistics.pool->count = find_count(arrays);
  if (statistics.spatial) statistics.spatial->count = find_count(arrays);
  return statistics;
}

void save_reference_statistics(const fs::path& path, const Moments& moments) {
  save_npz(path, {{"mu", moments.mean},
                  {"sigma", moments.covariance},
                  {"count", at::scalar_tensor(moments.count, at::kLong)}});
}

ReferenceImages::ReferenceImages(const fs::path& path) : reader_(path) {
  while (reader_.next()) {
    if (reader_.name() != "arr_0") continue;
    if (!is_images(reader_.header())) {
      std::ostringstream found;
      found << reader_.header().dtype << " of shape " << at::IntArrayRef(reader_.header().shape);
      refuse(path.string() + ": array 'arr_0'", found.str(),
             "images, uint8 of shape [number, height, width, 3]");
    }
    shape_ = reader_.header().shape;
    return;
  }
  refuse_content(path, names_in(path), "'arr_0', images");
}

Tensor ReferenceImages::next(int64_t batch) {
  return reader_.rows(batch).permute({0, 3, 1, 2}).contiguous();
}

}  // namespace tiller
