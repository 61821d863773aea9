#include <algorithm>
#include <set>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::formats {

namespace {

using base::FormatError;
namespace json = base::json;

constexpr std::uint64_t kMaxIndexBytes = 64u << 20;

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// weight_map of the index: tensor -> shard file name, each checked to be a plain name.
std::map<std::string, std::string> read_index(const std::filesystem::path& index) {
  const std::string file = index.string();
  json::value parsed;
  try {
    parsed = base::parse_json(base::read_file(index, kMaxIndexBytes), {.depth = 8, .bytes = kMaxIndexBytes});
  } catch (const base::JsonError& error) {
    throw FormatError(file, "", error.what(), error.offset);
  }
  const json::value* map = parsed.is_object() ? parsed.get_object().if_contains("weight_map") : nullptr;
  if (!map || !map->is_object() || map->get_object().empty())
    throw FormatError(file, "weight_map", "is missing or not an object of tensor names and file names");
  std::map<std::string, std::string> shard_of;
  for (const auto& entry : map->get_object()) {
    const std::string shard = entry.value().is_string() ? std::string(entry.value().get_string()) : std::string();
    if (shard.empty() || shard.front() == '.' || shard.find('/') != std::string::npos || shard.find('\0') != std::string::npos)
      throw FormatError(file, "weight_map." + std::string(entry.key()), "does not name a file beside the index");
    shard_of.emplace(entry.key(), shard);
  }
  return shard_of;
}

}  // namespace

Weights Weights::open(const std::filesystem::path& directory) {
  Weights weights;
  weights.directory_ = directory;
  const std::filesystem::path single = directory / "model.safetensors";
  const std::filesystem::path index = directory / "model.safetensors.index.json";
  if (std::filesystem::exists(single)) {
    weights.files_.push_back(SafetensorsFile::open(single));
    return weights;
  }
  if (!std::filesystem::exists(index))
    throw FormatError(directory.string(), "model.safetensors",
                      "is missing, and so is model.safetensors.index.json; give the directory of a Hugging Face model "
                      "with its weights in safetensors form");
  const auto shard_of = read_index(index);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  std::size_t found = 0;
  for (const std::string& shard : shards) {
    if (!std::filesystem::exists(directory / shard))
      throw FormatError(index.string(), "weight_map", "names " + shard + ", which is not there; download it");
    weights.files_.push_back(SafetensorsFile::open(directory / shard));
    for (const TensorView& tensor : weights.files_.back().tensors()) {
      const auto claimed = shard_of.find(tensor.name);
      if (claimed == shard_of.end() || claimed->second != shard)
        throw FormatError(tensor.file, "tensor '" + tensor.name + "'", "the index does not place it in this file");
      ++found;
    }
  }
  if (found != shard_of.size()) {
    for (const auto& [tensor, shard] : shard_of)
      if (!weights.find(tensor))
        throw FormatError((directory / shard).string(), "tensor '" + tensor + "'", "is in the index but not in the file");
  }
  return weights;
}

const TensorView* Weights::find(std::string_view name) const {
  for (const SafetensorsFile& file : files_)
    if (const TensorView* tensor = file.find(name)) return tensor;
  return nullptr;
}

const TensorView& Weights::at(std::string_view name, std::span<const std::int64_t> shape) const {
  const TensorView* tensor = find(name);
  if (!tensor)
    throw FormatError(directory_.string(), "tensor '" + std::string(name) + "'",
                      "is missing; the weights are not those of config.json");
  if (!std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(), shape.end()))
    throw FormatError(tensor->file, "tensor '" + tensor->name + "'",
                      "has shape " + shape_text(tensor->shape) + ", but config.json asks for " + shape_text(shape));
  return *tensor;
}

std::vector<const TensorView*> Weights::tensors() const {
  std::vector<const TensorView*> all;
  for (const SafetensorsFile& file : files_)
    for (const TensorView& tensor : file.tensors()) all.push_back(&tensor);
  return all;
}

std::vector<std::filesystem::path> Weights::files() const {
  std::vector<std::filesystem::path> paths;
  for (const SafetensorsFile& file : files_) paths.push_back(file.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace finetuned::formats
