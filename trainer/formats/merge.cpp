#include "trainer/formats/merge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/errors.h"
#include "base/files.h"
#include "trainer/formats/half.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::formats {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kPiece = 1 << 20;
constexpr std::uint64_t kMostCopiedBytes = 256 << 20;  // of a file that is not weights
constexpr std::array kCopied{".json", ".jinja", ".txt", ".model", ".md"};
constexpr std::array kCopiedNames{"LICENSE", "NOTICE"};

using PairsByName = std::map<std::string, const LoraPair*, std::less<>>;

std::vector<fs::path> files_of(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const fs::path& file = entry.path();
    const std::string extension = file.extension().string(), name = file.filename().string();
    const bool copied = std::find(kCopied.begin(), kCopied.end(), extension) != kCopied.end() ||
                        std::find(kCopiedNames.begin(), kCopiedNames.end(), name) != kCopiedNames.end();
    if (entry.is_regular_file() && name.size() <= 100 && name.front() != '.' && (copied || extension == ".safetensors"))
      files.push_back(file);
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The adapter's pairs by the tensors that they change, which are checked to be there.
PairsByName pairs_by_name(const Weights& weights, const Adapter& adapter) {
  PairsByName pairs;
  for (const LoraPair& pair : adapter.pairs) {
    const std::string name = linear_path(pair.layer, pair.module) + ".weight";
    const std::array<std::int64_t, 2> shape{pair.out, pair.in};
    const TensorView& view = weights.at(name, shape);
    if (view.dtype != Dtype::kF32 && view.dtype != Dtype::kBF16 && view.dtype != Dtype::kF16)
      throw base::FormatError(view.file, name, std::string(dtype_name(view.dtype)) +
                                               " takes no adapter: weights are F32, BF16 or F16");
    pairs[name] = &pair;
  }
  return pairs;
}

/// Appends `values` as `dtype`. False where one of them left its range.
bool append(std::string& out, std::span<const float> values, Dtype dtype) {
  bool finite = true;
  for (const float value : values) {
    if (dtype == Dtype::kF32) {
      finite = finite && std::isfinite(value);
      out.append(reinterpret_cast<const char*>(&value), sizeof value);
      continue;
    }
    const std::uint16_t half = dtype == Dtype::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
    finite = finite && std::isfinite(dtype == Dtype::kBF16 ? bf16_to_f32(half) : f16_to_f32(half));
    out.append(reinterpret_cast<const char*>(&half), sizeof half);
  }
  return finite;
}

void write_merged_tensor(TarWriter& tar, const TensorView& view, const LoraPair& pair, float scale) {
  const auto in = static_cast<std::size_t>(pair.in);
  const std::size_t rank = pair.a.size() / in, row_bytes = in * dtype_size(view.dtype);
  std::vector<float> row(in), delta(in);
  TensorView one = view;
  one.shape = {pair.in};
  one.bytes = row_bytes;
  std::string piece;
  for (std::size_t o = 0; o < static_cast<std::size_t>(pair.out); ++o) {
    one.data = view.data + o * row_bytes;
    one.copy_to(row);
    std::fill(delta.begin(), delta.end(), 0.0f);
    for (std::size_t r = 0; r < rank; ++r) {
      const float b = pair.b[o * rank + r];
      const float* a = pair.a.data() + r * in;
      for (std::size_t i = 0; i < in; ++i) delta[i] += b * a[i];
    }
    for (std::size_t i = 0; i < in; ++i) row[i] += scale * delta[i];
    if (!append(piece, row, view.dtype))
      throw base::FormatError(view.file, view.name, "leaves the range of " + std::string(dtype_name(view.dtype)) +
                                                        " with the adapter merged into it");
    if (piece.size() >= kPiece) tar.write(piece), piece.clear();
  }
  tar.write(piece);
}

void copy_tensor(TarWriter& tar, const TensorView& view) {
  const auto* data = reinterpret_cast<const char*>(view.data);
  for (std::uint64_t at = 0; at < view.bytes; at += kPiece)
    tar.write({data + at, static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, view.bytes - at))});
}

void write_weight_file(TarWriter& tar, const fs::path& path, const PairsByName& pairs, float scale) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const std::string header = safetensors_header(file.tensors(), file.metadata());
  const std::uint64_t header_bytes = header.size();
  std::uint64_t bytes = 8 + header_bytes;
  for (const TensorView& view : file.tensors()) bytes += view.bytes;
  tar.begin(path.filename().string(), bytes);
  tar.write({reinterpret_cast<const char*>(&header_bytes), 8});
  tar.write(header);
  for (const TensorView& view : file.tensors()) {
    const auto pair = pairs.find(view.name);
    if (pair == pairs.end()) copy_tensor(tar, view);
    else write_merged_tensor(tar, view, *pair->second, scale);
  }
}

}  // namespace

void write_merged_tar(const fs::path& base_directory, const Adapter& adapter, const ByteSink& sink) {
  const Weights weights = Weights::open(base_directory);
  const PairsByName pairs = pairs_by_name(weights, adapter);
  TarWriter tar(sink);
  for (const fs::path& file : files_of(base_directory)) {
    if (file.extension() == ".safetensors") {
      write_weight_file(tar, file, pairs, static_cast<float>(adapter.config.scale()));
      continue;
    }
    const std::string text = base::read_file(file, kMostCopiedBytes);
    tar.begin(file.filename().string(), text.size());
    tar.write(text);
  }
  tar.finish();
}

}  // namespace finetuned::formats
