#include "trainer/model/any_base.h"

namespace finetuned::model {

AnyBase::AnyBase(tensor::AnyDevice& device, const formats::ModelConfig& config) : spec_(device.spec()), config_(config) {
  device.visit([&]<class Device>(Device& on) {
    auto weights = std::make_unique<BaseWeights<Device>>(on, config);
    bytes_ = weights->bytes();
    weights_ = std::move(weights);
  });
}

AnyBase::AnyBase(tensor::AnyDevice& device, const formats::ModelConfig& config, const WeightSource& weights)
    : AnyBase(device, config) {
  for (const auto& tensor : formats::expected_tensors(config))
    read(device, tensor.name, weights);
  device.visit([](auto& on) { on.finish(); });
}

void AnyBase::read(tensor::AnyDevice& device, const std::string& name, const WeightSource& weights) {
  base::expects(device.spec() == spec_, "a base is read by its own device");
  device.visit([&]<class Device>(Device& on) {
    std::get<std::unique_ptr<BaseWeights<Device>>>(weights_)->read(on, name, weights);
  });
}

std::uint64_t AnyBase::planned_bytes(const tensor::DeviceSpec& spec, const formats::ModelConfig& config) {
  return tensor::with_class(spec, [&]<class Device>() { return BaseWeights<Device>::planned_bytes(config); });
}

}  // namespace finetuned::model
