#include "trainer/model/base_weights.h"

#include <span>
#include <type_traits>
#include <vector>

#include "base/expects.h"

namespace finetuned::model {

namespace {

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const auto size : shape)
    count *= size;
  return count;
}

}  // namespace

template <class Device>
BaseWeights<Device>::BaseWeights(const formats::ModelConfig& config) : config_(config) {
  for (const auto& tensor : formats::expected_tensors(config))
    arena_.reserve(values_[tensor.name], "frozen weights", product(tensor.shape));
}

template <class Device>
BaseWeights<Device>::BaseWeights(const Device& device, const formats::ModelConfig& config,
                                 const WeightSource& weights)
    : BaseWeights(config) {
  arena_.allocate();
  std::vector<float> host;
  for (const auto& tensor : formats::expected_tensors(config)) {
    const auto size = static_cast<std::size_t>(product(tensor.shape));
    if constexpr (std::is_same_v<Device, tensor::Cpu>) {
      weights(tensor.name, {values_[tensor.name], size});  // where they are to lie: no second copy of the largest
    } else {
      host.resize(size);
      weights(tensor.name, host);
      device.copy_in(values_[tensor.name], host.data(), static_cast<std::int64_t>(size));
    }
  }
}

template <class Device>
const typename Device::Real* BaseWeights<Device>::find(const std::string& name) const {
  const auto found = values_.find(name);
  base::expects(found != values_.end(), "a base has every tensor that its config names");
  return found->second;
}

template <class Device>
std::uint64_t BaseWeights<Device>::planned_bytes(const formats::ModelConfig& config) {
  return BaseWeights(config).bytes();
}

template class BaseWeights<tensor::Cpu>;
template class BaseWeights<tensor::Reference>;

}  // namespace finetuned::model
