#include "base/errors.h"
#include "trainer/model/weight_source.h"

namespace finetuned::model {

WeightSource stored_weights(const formats::Weights& weights) {
  return [&weights](const std::string& name, std::span<float> out) {
    const formats::TensorView* tensor = weights.find(name);
    if (!tensor)
      throw base::FormatError("model.safetensors", name, "this tensor is missing; export the model whole");
    if (tensor->elements() != static_cast<std::int64_t>(out.size()))
      throw base::FormatError(tensor->file, name, "its size is not the one that config.json implies");
    tensor->copy_to(out);
  };
}

}  // namespace finetuned::model
