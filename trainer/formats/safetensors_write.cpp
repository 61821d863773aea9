#include <algorithm>
#include <cstring>

#include "base/expects.h"
#include "base/files.h"
#include "base/json.h"
#include "trainer/formats/half.h"
#include "trainer/formats/safetensors.h"

#include <boost/json/serialize.hpp>

namespace finetuned::formats {

namespace {

namespace json = base::json;

constexpr std::size_t kPieceElements = 1 << 18;

std::uint64_t element_count(const TensorToWrite& tensor) {
  std::uint64_t count = 1;
  for (const std::int64_t size : tensor.shape) {
    base::expects(size >= 0, "dimensions are not negative");
    count *= static_cast<std::uint64_t>(size);
  }
  return count;
}

/// Writes floats as half-wide numbers, a piece at a time.
template <typename Convert>
void write_halves(base::DurableFile& out, std::span<const float> values, Convert convert) {
  std::vector<std::uint16_t> piece(std::min(values.size(), kPieceElements));
  for (std::size_t at = 0; at < values.size(); at += piece.size()) {
    const std::size_t count = std::min(piece.size(), values.size() - at);
    for (std::size_t i = 0; i < count; ++i) piece[i] = convert(values[at + i]);
    out.write(piece.data(), 2 * count);
  }
}

}  // namespace

std::string safetensors_header(const std::vector<TensorView>& tensors, const std::map<std::string, std::string>& metadata) {
  json::object header;
  if (!metadata.empty()) {
    json::object& items = header["__metadata__"].emplace_object();
    for (const auto& [key, value] : metadata) items[key] = value;
  }
  std::uint64_t offset = 0;
  for (const TensorView& tensor : tensors) {
    json::array shape;
    for (const std::int64_t size : tensor.shape) shape.push_back(size);
    json::object entry;
    entry["dtype"] = dtype_name(tensor.dtype);
    entry["shape"] = std::move(shape);
    entry["data_offsets"] = json::array{offset, offset + tensor.bytes};
    base::expects(header.emplace(tensor.name, std::move(entry)).second, "tensor names are written once");
    offset += tensor.bytes;
  }
  std::string text = json::serialize(header);
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

void write_safetensors(const std::filesystem::path& file, std::vector<TensorToWrite> tensors, Dtype dtype,
                       const std::map<std::string, std::string>& metadata) {
  base::expects(dtype == Dtype::kF32 || dtype == Dtype::kBF16 || dtype == Dtype::kF16, "weights are written as floats");
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorToWrite& a, const TensorToWrite& b) { return a.name < b.name; });
  for (const TensorToWrite& tensor : tensors)
    base::expects(element_count(tensor) == tensor.values.size(), "a tensor has as many values as its shape says");
  std::vector<TensorView> heads;
  for (const TensorToWrite& tensor : tensors) {
    TensorView& head = heads.emplace_back();
    head.name = tensor.name;
    head.dtype = dtype;
    head.shape = tensor.shape;
    head.bytes = element_count(tensor) * dtype_size(dtype);
  }
  const std::string header = safetensors_header(heads, metadata);
  base::DurableFile out(file);
  const std::uint64_t header_bytes = header.size();
  out.write(&header_bytes, 8);
  out.write(header);
  for (const TensorToWrite& tensor : tensors) {
    if (dtype == Dtype::kF32)
      out.write(tensor.values.data(), tensor.values.size_bytes());
    else if (dtype == Dtype::kBF16)
      write_halves(out, tensor.values, f32_to_bf16);
    else
      write_halves(out, tensor.values, f32_to_f16);
  }
  out.commit();
}

}  // namespace finetuned::formats
