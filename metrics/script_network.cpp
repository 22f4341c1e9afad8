#include "metrics/script_network.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <sstream>

#include "io/error.h"

namespace tiller {
namespace {

/// Of what a script throws, a line below the traceback names the error: "RuntimeError: ...".
std::string script_error(const std::string& text) {
  const std::string kind = "Error: ";
  const size_t at = text.rfind(kind);
  return printable(first_line(at == text.npos ? text : text.substr(at + kind.size())));
}

bool takes_return_features(const torch::jit::Module& module) {
  for (const auto& argument : module.get_method("forward").function().getSchema().arguments())
    if (argument.name() == "return_features") return true;
  return false;
}

Tensor tensor_of(const c10::IValue& value, const std::string& file) {
  if (value.isTensor()) return value.toTensor();
  if (value.isTuple() && !value.toTupleRef().elements().empty())
    return tensor_of(value.toTupleRef().elements()[0], file);
  throw Error(file + ": got " + value.tagKind() + " from its forward, expected a tensor.");
}

torch::jit::Module load(const fs::path& file, at::Device device) {
  try {
    auto module = torch::jit::load(file.string(), device);
    module.eval();
    module.get_method("forward");
    return module;
  } catch (const std::exception& error) {
    throw Error(file.string() +
                ": got no TorchScript that can be loaded, expected a file of torch.jit.save: " +
                printable(first_line(error.what())));
  }
}

Tensor features_of(const c10::IValue& value, int64_t images, const std::string& file) {
  const Tensor features = tensor_of(value, file);
  if (features.dim() >= 2 && features.size(0) == images && features.numel() > 0) return features;
  std::ostringstream found;
  found << file << ": got " << features.sizes() << " from its forward for " << images
        << " images, expected features of each: [" << images << ", width].";
  throw Error(found.str());
}

}  // namespace

std::function<Tensor(const Tensor&)> load_script(const fs::path& file, at::Device device) {
  if (!fs::exists(file)) throw Error(file.string() + ": got no such file, expected TorchScript.");
  auto module = std::make_shared<torch::jit::Module>(load(file, device));
  std::unordered_map<std::string, c10::IValue> keywords;
  if (takes_return_features(*module)) keywords["return_features"] = true;
  return [module, keywords, name = file.string()](const Tensor& x) {
    const auto failed = [&](const std::string& why) {
      std::ostringstream text;
      text << name << ": its forward failed on " << x.sizes() << ": " << why;
      return text.str();
    };
    try {
      return features_of(module->forward({x}, keywords), x.size(0), name);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw Error(failed(script_error(error.what())));
    }
  };
}

}  // namespace tiller
