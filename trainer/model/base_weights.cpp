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
BaseWeights<Device>::BaseWeights(const formats::ModelConfig& config, Plan) : config_(config) {
  for (const auto& tensor : formats::expected_tensors(config)) {
    Place& place = places_[tensor.name];
    place.count = product(tensor.shape);
    arena_.reserve(place.values, "frozen weights", place.count);
  }
}

template <class Device>
BaseWeights<Device>::BaseWeights(const Device& device, const formats::ModelConfig& config)
    : BaseWeights(config, Plan()) {
  arena_.allocate(device);
}

template <class Device>
BaseWeights<Device>::BaseWeights(const Device& device, const formats::ModelConfig& config,
                                 const WeightSource& weights)
    : BaseWeights(device, config) {
  for (const auto& tensor : formats::expected_tensors(config))
    read(device, tensor.name, weights);
}

template <class Device>
void BaseWeights<Device>::read(const Device& device, const std::string& name, const WeightSource& weights) {
  const auto found = places_.find(name);
  base::expects(found != places_.end(), "a base has every tensor that its config names");
  const Place& place = found->second;
  const auto size = static_cast<std::size_t>(place.count);
  if constexpr (std::is_same_v<Device, tensor::Cpu>) {
    weights(name, {place.values, size});  // where they are to lie: no second copy of the largest
  } else {
    if constexpr (std::is_same_v<Real, tensor::Bf16>) {
      if (const auto stored = weights.bfloat16(name, size); !stored.empty())
        return device.to_device(place.values, stored.data(), stored.size());
    }
    std::vector<float> host(size);
    weights(name, host);
    device.copy_in(place.values, host.data(), place.count);
  }
}

template <class Device>
const typename Device::Real* BaseWeights<Device>::find(const std::string& name) const {
  const auto found = places_.find(name);
  base::expects(found != places_.end(), "a base has every tensor that its config names");
  return found->second.values;
}

template <class Device>
std::uint64_t BaseWeights<Device>::planned_bytes(const formats::ModelConfig& config) {
  return BaseWeights(config, Plan()).bytes();
}

template class BaseWeights<tensor::Cpu>;
template class BaseWeights<tensor::Reference>;
template class BaseWeights<tensor::Cuda>;

}  // namespace finetuned::model
