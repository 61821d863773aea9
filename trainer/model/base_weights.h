#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "trainer/formats/hf_config.h"
#include "trainer/model/weight_source.h"
#include "trainer/tensor/arena.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::model {

/// The weights of a base model as they lie on a device, read once and never changed: models that train
/// adapters on one base share them, one after another or at the same time. Instantiated for tensor::Cpu,
/// tensor::Cuda and tensor::Reference. Not movable: models point into it.
template <class Device>
class BaseWeights {
 public:
  using Real = typename Device::Real;

  /// Copies every tensor of formats::expected_tensors(config). Needs `device` for the copies only, and may
  /// run on another thread than a model that trains on the same Cpu. Throws FormatError and std::bad_alloc.
  BaseWeights(const Device& device, const formats::ModelConfig& config, const WeightSource& weights);
  /// Its memory alone, zeroed, for read() to fill: so that reading can be broken off and gone on with.
  BaseWeights(const Device& device, const formats::ModelConfig& config);
  BaseWeights(const BaseWeights&) = delete;
  BaseWeights& operator=(const BaseWeights&) = delete;

  /// Copies the tensor `name`, one of formats::expected_tensors(config()). Throws as the constructor does.
  void read(const Device& device, const std::string& name, const WeightSource& weights);

  const formats::ModelConfig& config() const { return config_; }
  std::uint64_t bytes() const { return arena_.bytes(); }
  /// By its Hugging Face name (expects() that there is one), row-major.
  const Real* find(const std::string& name) const;

  /// What bytes() will be.
  static std::uint64_t planned_bytes(const formats::ModelConfig& config);

 private:
  struct Place {
    Real* values = nullptr;
    std::int64_t count = 0;
  };
  struct Plan {};
  BaseWeights(const formats::ModelConfig& config, Plan);  ///< reserves only

  formats::ModelConfig config_;
  tensor::Arena arena_;
  std::map<std::string, Place> places_;
};

extern template class BaseWeights<tensor::Cpu>;
extern template class BaseWeights<tensor::Cuda>;
extern template class BaseWeights<tensor::Reference>;

}  // namespace finetuned::model
