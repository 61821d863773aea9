#include "trainer/training/output.h"

#include <boost/json/serialize.hpp>
#include <cmath>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "trainer/formats/json_fields.h"
#include "trainer/formats/peft.h"
#include "trainer/kernels/reduce.h"

namespace finetuned::training {

namespace fs = std::filesystem;
namespace json = base::json;

namespace {

/// Of the base, into a directory of every weight.
constexpr const char* kCopied[] = {"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                   "chat_template.jinja"};
constexpr std::uint64_t kMaxCopiedBytes = 256u << 20;

std::string base_name(const RunConfig& config) {
  if (!config.base_name.empty()) return config.base_name;
  const fs::path canonical = fs::weakly_canonical(config.base_directory);
  return canonical.filename().string();
}

const char* torch_dtype(formats::Dtype dtype) {
  switch (dtype) {
    case formats::Dtype::kBF16: return "bfloat16";
    case formats::Dtype::kF16: return "float16";
    default: return "float32";
  }
}

void write_hugging_face(const RunConfig& config, const Trained& trained, const fs::path& directory) {
  std::vector<formats::TensorToWrite> tensors;
  for (const Trained::Tensor& tensor : trained.tensors) tensors.push_back({tensor.name, tensor.shape, tensor.values});
  formats::write_safetensors(directory / "model.safetensors", std::move(tensors), config.dtype);
  json::object base_config = formats::read_json_object(config.base_directory / "config.json");
  base_config["torch_dtype"] = torch_dtype(config.dtype);
  base::write_durably(directory / "config.json", json::serialize(base_config) + "\n");
  for (const char* name : kCopied) {
    const fs::path from = config.base_directory / name;
    if (fs::is_regular_file(from)) base::write_durably(directory / name, base::read_file(from, kMaxCopiedBytes));
  }
}

/// The deepest part of `path` that exists.
fs::path existing_part(fs::path path) {
  std::error_code ignored;
  while (!fs::exists(path, ignored) && path.has_relative_path()) path = path.parent_path();
  return path;
}

/// What a base::DurableFile of `name` left whose process died.
void remove_beside(const fs::path& directory, const std::string& name) {
  std::error_code ignored;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string there = entry.path().filename().string();
    if (there.starts_with("." + name + ".tmp-") && entry.is_regular_file(ignored)) found.push_back(entry.path());
  }
  for (const fs::path& file : found) fs::remove(file, ignored);
}

/// Writes a file in `there` and takes it back: access(2) asks for the real user without its ambient capabilities, and
/// knows nothing of full disks.
void check_writable(const fs::path& out, const fs::path& there) {
  try {
    const base::DurableFile trial(there / "trial");
  } catch (const base::FileError& error) {
    if (error.disk_full()) throw;
    throw base::UsageError(out.string() + ": cannot be written, since " + there.string() +
                           " does not allow it: " + error.code().message());
  }
}

}  // namespace

void check_output(const RunConfig& config) {
  const fs::path& out = config.out_directory;
  if (out.empty()) throw base::UsageError("the output directory's name is empty");
  const fs::path there = existing_part(fs::absolute(out));
  if (!fs::is_directory(there))
    throw base::UsageError(out.string() + ": cannot be made, since " + there.string() + " is not a directory");
  check_writable(out, there);
  if (!fs::exists(out)) return;
  if (fs::equivalent(out, config.base_directory))
    throw base::UsageError(out.string() + " is the base's own directory, which the result would replace; name another");
  if (config.init_adapter && fs::equivalent(out, *config.init_adapter))
    throw base::UsageError(out.string() + " is the initial adapter's own directory, which the result would replace; name another");
}

void remove_unfinished(const fs::path& directory, const fs::path& state_file) {
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json", "model.safetensors", "config.json",
                           "step_metrics.csv", "manifest.json"})
    remove_beside(directory, name);
  for (const char* name : kCopied) remove_beside(directory, name);
  if (!state_file.empty()) remove_beside(fs::absolute(state_file).parent_path(), state_file.filename().string());
}

template <class Device>
void check_finite(const model::Transformer<Device>& model, std::int64_t step) {
  for (const auto& trained : model.trainables())
    if (!std::isfinite(kernels::square_sum(model.device(), trained.value.data(), static_cast<std::int64_t>(trained.value.size()))))
      throw Diverged("the weights stopped being numbers at step " + std::to_string(step) +
                     "; lower the learning rate or add warm-up");
}

template <class Device>
Trained trained_by(const RunConfig& config, const model::Transformer<Device>& model) {
  Trained made;
  if (config.full_parameter) {
    for (const auto& one : model.trainables()) made.tensors.push_back({one.name, one.shape, model.tensor(one.name)});
  } else {
    made.adapter = model.adapter();
    made.adapter->config.base_model_name_or_path = base_name(config);
  }
  return made;
}

void write_result(const RunConfig& config, const Trained& trained, const fs::path& directory) {
  fs::create_directories(directory);
  if (trained.adapter) {
    formats::write_adapter(directory, *trained.adapter, config.dtype);
  } else {
    write_hugging_face(config, trained, directory);
  }
}

fs::path write_checkpoint(const RunConfig& config, const Trained& trained, std::int64_t step) {
  const fs::path target = config.out_directory / ("step-" + std::to_string(step));
  fs::path beside = target;
  beside += ".tmp";
  fs::create_directories(config.out_directory);
  fs::remove_all(beside);
  try {
    write_result(config, trained, beside);
    base::sync_directory(beside);
  } catch (...) {  // a full disk is not to be kept full
    std::error_code ignored;
    fs::remove_all(beside, ignored);
    throw;
  }
  fs::remove_all(target);
  fs::rename(beside, target);
  base::sync_directory(config.out_directory);
  return target;
}

#define FINETUNED_INSTANTIATE(Device)                                      \
  template void check_finite(const model::Transformer<Device>&, std::int64_t); \
  template Trained trained_by(const RunConfig&, const model::Transformer<Device>&);
FINETUNED_INSTANTIATE(tensor::Cpu)
FINETUNED_INSTANTIATE(tensor::Cuda)

}  // namespace finetuned::training
