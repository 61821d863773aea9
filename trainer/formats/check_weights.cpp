#include <set>

#include "base/errors.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::formats {

void check_weights(const ModelConfig& config, const Weights& weights) {
  std::set<std::string, std::less<>> known;
  for (const ExpectedTensor& expected : expected_tensors(config)) {
    const TensorView& tensor = weights.at(expected.name, expected.shape);
    if (tensor.dtype != Dtype::kF32 && tensor.dtype != Dtype::kBF16 && tensor.dtype != Dtype::kF16)
      throw base::FormatError(tensor.file, "tensor '" + tensor.name + "' dtype",
                              std::string(dtype_name(tensor.dtype)) + " is not supported; convert to F32, BF16 or F16");
    known.insert(expected.name);
  }
  for (const TensorView* tensor : weights.tensors()) {
    if (known.count(tensor->name) || tensor->name.ends_with(".rotary_emb.inv_freq")) continue;
    if (config.tie_word_embeddings && tensor->name == "lm_head.weight") continue;
    throw base::FormatError(tensor->file, "tensor '" + tensor->name + "'",
                            "is not part of " + std::string(architecture_name(config.architecture)) +
                                " with this config.json; its effect would be lost");
  }
}

}  // namespace finetuned::formats
