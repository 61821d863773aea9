// What begins with `{` is model.safetensors.index.json beside two shards, and a config.json; else model.safetensors.
#include <cstring>
#include <string>

#include "base/errors.h"
#include "base/files.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::fuzz {
namespace {

std::string shard(const std::string& name) {
  const std::string header = "{\"" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  return bytes + header + std::string(8, '\1');
}

/// Every tensor lies in the file, and together they are all of its data.
void check(const formats::SafetensorsFile& file, std::uint64_t file_bytes) {
  std::uint64_t sum = 0;
  unsigned touched = 0;
  for (const auto& tensor : file.tensors()) {
    expect(tensor.bytes == static_cast<std::uint64_t>(tensor.elements()) * formats::dtype_size(tensor.dtype),
           "a tensor has the bytes of its shape");
    expect(file.find(tensor.name) == &tensor, "a tensor is found by its name");
    if (tensor.bytes > 0)
      touched += std::to_integer<unsigned>(tensor.data[0]) + std::to_integer<unsigned>(tensor.data[tensor.bytes - 1]);
    sum += tensor.bytes;
  }
  expect(sum <= file_bytes && touched <= 510 * file.tensors().size(), "the tensors are within the file");
}

void read_index(const ScratchDirectory& directory, std::string_view text) {
  directory.write("model.safetensors.index.json", text);
  try {
    formats::Weights::open(directory.path());
  } catch (const base::FormatError&) {
  }
  try {
    const auto config = formats::parse_model_config(text, "config.json");
    expect(formats::parameter_count(config) > 0, "a model has parameters");
    formats::expected_tensors(config);
  } catch (const base::FormatError&) {
  }
}

}  // namespace
}  // namespace finetuned::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace finetuned;
  static const fuzz::ScratchDirectory whole, sharded;
  static const bool prepared = [] {
    sharded.write("a.safetensors", fuzz::shard("a"));
    sharded.write("b.safetensors", fuzz::shard("b"));
    return true;
  }();
  const auto text = fuzz::as_text(data, size);
  if (prepared && text.starts_with('{')) {
    fuzz::read_index(sharded, text);
    return 0;
  }
  whole.write("model.safetensors", text);
  try {
    fuzz::check(formats::SafetensorsFile::open(whole.path() / "model.safetensors"), size);
    formats::Weights::open(whole.path());
  } catch (const base::FormatError&) {
  } catch (const base::FileError&) {
  }
  return 0;
}
