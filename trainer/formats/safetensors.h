#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::formats {

/// The element types of the safetensors format. Any other name in a header is refused.
enum class Dtype { kBool, kU8, kI8, kF8E4M3, kF8E5M2, kU16, kI16, kF16, kBF16, kU32, kI32, kF32, kU64, kI64, kF64 };

std::size_t dtype_size(Dtype dtype);         ///< bytes an element
std::string_view dtype_name(Dtype dtype);    ///< as in the header: `F32`, `BF16`, ...

/// One tensor inside a mapped file. Valid as long as the SafetensorsFile (or Weights) it came from.
struct TensorView {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<std::int64_t> shape;     ///< row-major, the last dimension contiguous; empty: a scalar
  const std::byte* data = nullptr;     ///< little-endian; any alignment
  std::uint64_t bytes = 0;             ///< = elements() x dtype_size(dtype), checked
  std::string file;                    ///< for messages

  std::int64_t elements() const;
  /// Converts F32, BF16 or F16 exactly into `out` (out.size() == elements()). Throws FormatError for another dtype.
  void copy_to(std::span<float> out) const;
  std::vector<float> to_f32() const;
  /// The values in place where they are F32 and aligned, else nullptr.
  const float* f32_in_place() const;
};

/// One safetensors file, mapped read-only. Layout (https://github.com/huggingface/safetensors, "Format"): u64 N in
/// little-endian, N bytes of JSON {name: {dtype, shape, data_offsets: [begin, end)}, "__metadata__": {text: text}},
/// then the data, to which the offsets refer. Move-only; reading is safe from many threads.
class SafetensorsFile {
 public:
  /// Maps and checks the whole header: N <= min(100 MB, file size - 8); strict JSON without duplicate names; known
  /// dtypes; dimensions >= 0 whose product fits; begin <= end, end - begin = product x dtype size; the ranges cover the
  /// data to the file's last byte without gap or overlap. Throws FormatError (file, tensor, byte) or
  /// FileError where the file cannot be opened.
  static SafetensorsFile open(const std::filesystem::path& file);

  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::vector<TensorView>& tensors() const { return tensors_; }  ///< in the order of their data
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const TensorView* find(std::string_view name) const;                  ///< nullptr where absent
  const std::filesystem::path& path() const { return path_; }

 private:
  struct Mapping;
  SafetensorsFile();
  void read_header();

  std::filesystem::path path_;
  std::unique_ptr<Mapping> mapping_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::map<std::string, std::string> metadata_;
};

/// The weights of a Hugging Face directory: `model.safetensors`, or the shards that `model.safetensors.index.json` names.
/// Move-only; views stay valid while it lives.
class Weights {
 public:
  /// Throws FormatError: neither file there, a shard name that leaves the directory, a tensor that is in no shard, in
  /// two, or in another shard than the index says.
  static Weights open(const std::filesystem::path& directory);

  const TensorView* find(std::string_view name) const;
  /// As find, but throws FormatError where the tensor is absent or has another shape.
  const TensorView& at(std::string_view name, std::span<const std::int64_t> shape) const;
  std::vector<const TensorView*> tensors() const;                ///< over all files
  std::vector<std::filesystem::path> files() const;             ///< for hashing, sorted by name
  const std::filesystem::path& directory() const { return directory_; }

 private:
  std::filesystem::path directory_;
  std::vector<SafetensorsFile> files_;
};

/// The JSON header of a file whose data are these tensors, one behind the other, padded with spaces to 8 bytes.
std::string safetensors_header(const std::vector<TensorView>& tensors, const std::map<std::string, std::string>& metadata);

/// A tensor to be written. `values` are borrowed until write_safetensors returns.
struct TensorToWrite {
  std::string name;
  std::vector<std::int64_t> shape;
  std::span<const float> values;
};

/// Writes `tensors` as `dtype` (F32, or BF16/F16 rounded to nearest even), sorted by name, the header padded with
/// spaces to 8 bytes, so that the same tensors give the same bytes. Written beside, fsynced, renamed: a reader sees
/// the whole file or none. Throws FileError where the disk refuses.
void write_safetensors(const std::filesystem::path& file, std::vector<TensorToWrite> tensors,
                       Dtype dtype = Dtype::kF32,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace finetuned::formats
