#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "trainer/model/base_weights.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::model {

/// BaseWeights on a device chosen at run time. Models on other objects of the same device may point into it.
class AnyBase {
 public:
  /// Its memory alone, zeroed, for read() to fill. Throws std::bad_alloc.
  AnyBase(tensor::AnyDevice& device, const formats::ModelConfig& config);
  /// All of it. Throws as BaseWeights does.
  AnyBase(tensor::AnyDevice& device, const formats::ModelConfig& config, const WeightSource& weights);

  /// As BaseWeights::read(), by any object of the same device; a GPU's copy may still be on its way when it returns.
  void read(tensor::AnyDevice& device, const std::string& name, const WeightSource& weights);

  const tensor::DeviceSpec& spec() const { return spec_; }
  const formats::ModelConfig& config() const { return config_; }
  std::uint64_t bytes() const { return bytes_; }
  template <class Device>
  const BaseWeights<Device>& on() const {
    return *std::get<std::unique_ptr<BaseWeights<Device>>>(weights_);
  }

  /// What bytes() will be.
  static std::uint64_t planned_bytes(const tensor::DeviceSpec& spec, const formats::ModelConfig& config);

 private:
  tensor::DeviceSpec spec_;
  formats::ModelConfig config_;
  std::uint64_t bytes_ = 0;
  tensor::OnAnyDevice<BaseWeights> weights_;
};

}  // namespace finetuned::model
