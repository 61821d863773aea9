#include "base/errors.h"
#include "trainer/model/weight_source.h"

namespace finetuned::model {

namespace {

const formats::TensorView& found(const formats::Weights& weights, const std::string& name, std::size_t elements) {
  const formats::TensorView* tensor = weights.find(name);
  if (!tensor)
    throw base::FormatError("model.safetensors", name, "this tensor is missing; export the model whole");
  if (tensor->elements() != static_cast<std::int64_t>(elements))
    throw base::FormatError(tensor->file, name, "its size is not the one that config.json implies");
  return *tensor;
}

}  // namespace

WeightSource stored_weights(const formats::Weights& weights) {
  const auto values = [&weights](const std::string& name, std::span<float> out) {
    found(weights, name, out.size()).copy_to(out);
  };
  const auto stored = [&weights](const std::string& name, std::size_t elements) {
    const formats::TensorView& tensor = found(weights, name, elements);
    if (tensor.dtype != formats::Dtype::kBF16) return std::span<const std::byte>();
    return std::span(tensor.data, tensor.bytes);
  };
  return {values, stored};
}

}  // namespace finetuned::model
