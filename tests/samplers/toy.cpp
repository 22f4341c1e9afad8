#include "tests/samplers/toy.h"

#include <sstream>

namespace tiller::test {

Configured::Configured(const std::string& name, const std::string& text)
    : sampler(find_sampler(name)) {
  for (const auto& spec : sampler.options) options.values[spec.name] = spec.value;
  std::stringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');)
    options.values[item.substr(0, item.find('='))] = item.substr(item.find('=') + 1);
}

}  // namespace tiller::test
