#include "trainer/formats/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "base/errors.h"
#include "base/expects.h"
#include "base/files.h"
#include "base/json.h"
#include "trainer/formats/half.h"

namespace finetuned::formats {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and read in place");

namespace {

using base::FormatError;
namespace json = base::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxDimensions = 8;

struct DtypeRow {
  Dtype dtype;
  std::string_view name;
  std::size_t size;
};

constexpr DtypeRow kDtypes[] = {
    {Dtype::kBool, "BOOL", 1},      {Dtype::kU8, "U8", 1},          {Dtype::kI8, "I8", 1},   {Dtype::kF8E4M3, "F8_E4M3", 1},
    {Dtype::kF8E5M2, "F8_E5M2", 1}, {Dtype::kU16, "U16", 2},        {Dtype::kI16, "I16", 2}, {Dtype::kF16, "F16", 2},
    {Dtype::kBF16, "BF16", 2},      {Dtype::kU32, "U32", 4},        {Dtype::kI32, "I32", 4}, {Dtype::kF32, "F32", 4},
    {Dtype::kU64, "U64", 8},        {Dtype::kI64, "I64", 8},        {Dtype::kF64, "F64", 8},
};

const DtypeRow& row_of(Dtype dtype) {
  const auto* row = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const DtypeRow& r) { return r.dtype == dtype; });
  base::expects(row != std::end(kDtypes), "every dtype is in the table");
  return *row;
}

/// The value of a JSON integer >= 0, or nothing.
std::optional<std::uint64_t> natural(const json::value& value) {
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64() && value.get_int64() >= 0) return static_cast<std::uint64_t>(value.get_int64());
  return std::nullopt;
}

/// Checks one header entry by itself; the caller checks how entries lie beside each other.
class EntryReader {
 public:
  EntryReader(const std::string& file, const std::string& name, std::uint64_t data_bytes)
      : file_(file), name_(name), data_bytes_(data_bytes) {}

  /// Fills dtype, shape and bytes of `view`; returns where its data begins.
  std::uint64_t read(const json::value& entry, TensorView& view) const {
    if (!entry.is_object()) refuse("", "the header entry is not an object");
    const json::object& fields = entry.get_object();
    for (const auto& field : fields)
      if (field.key() != "dtype" && field.key() != "shape" && field.key() != "data_offsets")
        refuse(std::string(field.key()), "is not a field of a tensor");
    view.dtype = dtype(fields.if_contains("dtype"));
    const std::uint64_t wanted = shape(fields.if_contains("shape"), view);
    const json::value* offsets = fields.if_contains("data_offsets");
    if (!offsets || !offsets->is_array() || offsets->get_array().size() != 2)
      refuse("data_offsets", "is not an array of two integers");
    const auto begin = natural(offsets->get_array()[0]);
    const auto end = natural(offsets->get_array()[1]);
    if (!begin || !end) refuse("data_offsets", "is not an array of two integers >= 0");
    if (*begin > *end || *end > data_bytes_)
      refuse("data_offsets", "[" + std::to_string(*begin) + ", " + std::to_string(*end) + ") lies outside the file's " +
                                 std::to_string(data_bytes_) + " bytes of data; the file is truncated or damaged");
    if (*end - *begin != wanted)
      refuse("data_offsets", "span " + std::to_string(*end - *begin) + " bytes, but shape and dtype need " +
                                 std::to_string(wanted));
    view.bytes = wanted;
    return *begin;
  }

 private:
  [[noreturn]] void refuse(const std::string& field, const std::string& message) const {
    throw FormatError(file_, "tensor '" + name_ + "'" + (field.empty() ? "" : " " + field), message);
  }

  Dtype dtype(const json::value* value) const {
    if (!value || !value->is_string()) refuse("dtype", "is missing or not text");
    const std::string_view name = value->get_string();
    for (const DtypeRow& row : kDtypes)
      if (row.name == name) return row.dtype;
    refuse("dtype", "'" + std::string(name.substr(0, 32)) + "' is unknown; convert the tensor to F32, BF16 or F16");
  }

  /// Bytes that shape and dtype need, every product checked.
  std::uint64_t shape(const json::value* value, TensorView& view) const {
    if (!value || !value->is_array()) refuse("shape", "is missing or not an array");
    if (value->get_array().size() > kMaxDimensions) refuse("shape", "has more than 8 dimensions");
    std::uint64_t bytes = dtype_size(view.dtype);
    bool empty = false;
    for (const json::value& item : value->get_array()) {
      const auto size = natural(item);
      if (!size || *size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        refuse("shape", "has a dimension that is not an integer >= 0");
      view.shape.push_back(static_cast<std::int64_t>(*size));
      empty = empty || *size == 0;
      if (*size != 0 && __builtin_mul_overflow(bytes, *size, &bytes)) refuse("shape", "describes more than 2^64 bytes");
    }
    return empty ? 0 : bytes;
  }

  const std::string& file_;
  const std::string& name_;
  std::uint64_t data_bytes_;
};

}  // namespace

std::size_t dtype_size(Dtype dtype) { return row_of(dtype).size; }
std::string_view dtype_name(Dtype dtype) { return row_of(dtype).name; }

std::int64_t TensorView::elements() const { return static_cast<std::int64_t>(bytes / dtype_size(dtype)); }

void TensorView::copy_to(std::span<float> out) const {
  base::expects(out.size() == static_cast<std::size_t>(elements()), "the destination has the tensor's size");
  if (out.empty()) return;
  const auto each_half = [&](auto convert) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::uint16_t bits;
      std::memcpy(&bits, data + 2 * i, 2);
      out[i] = convert(bits);
    }
  };
  if (dtype == Dtype::kF32) {
    std::memcpy(out.data(), data, bytes);
  } else if (dtype == Dtype::kBF16) {
    each_half(bf16_to_f32);
  } else if (dtype == Dtype::kF16) {
    each_half(f16_to_f32);
  } else {
    throw FormatError(file, "tensor '" + name + "' dtype",
                      std::string(dtype_name(dtype)) + " holds no weights here; convert the tensor to F32, BF16 or F16");
  }
}

std::vector<float> TensorView::to_f32() const {
  std::vector<float> values(static_cast<std::size_t>(elements()));
  copy_to(values);
  return values;
}

const float* TensorView::f32_in_place() const {
  if (dtype != Dtype::kF32 || reinterpret_cast<std::uintptr_t>(data) % alignof(float) != 0) return nullptr;
  return reinterpret_cast<const float*>(data);
}

struct SafetensorsFile::Mapping {
  const std::byte* start = nullptr;
  std::uint64_t size = 0;

  explicit Mapping(const std::filesystem::path& file) {
    const base::FileDescriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!descriptor.valid()) base::throw_errno("open", file);
    struct stat status {};
    if (::fstat(descriptor.get(), &status) != 0) base::throw_errno("examine", file);
    if (!S_ISREG(status.st_mode)) throw FormatError(file.string(), "", "is not a regular file");
    if (status.st_size == 0) throw FormatError(file.string(), "", "is empty; download it again");
    void* mapped =
        ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
    if (mapped == MAP_FAILED) base::throw_errno("map", file);
    start = static_cast<const std::byte*>(mapped);
    size = static_cast<std::uint64_t>(status.st_size);
  }
  ~Mapping() { ::munmap(const_cast<std::byte*>(start), size); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
};

SafetensorsFile::SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& file) {
  SafetensorsFile result;
  result.path_ = file;
  result.mapping_ = std::make_unique<Mapping>(file);
  result.read_header();
  return result;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &tensors_[at->second];
}

void SafetensorsFile::read_header() {
  const std::string file = path_.string();
  if (mapping_->size < 8) throw FormatError(file, "header", "the file ends within its first 8 bytes", mapping_->size);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, mapping_->start, 8);
  if (header_bytes > std::min(kMaxHeaderBytes, mapping_->size - 8))
    throw FormatError(file, "header",
                      "claims " + std::to_string(header_bytes) + " bytes of a file of " + std::to_string(mapping_->size) +
                          " (at most 100 MB are allowed); the file is truncated or is not safetensors", 0);
  const std::string_view text(reinterpret_cast<const char*>(mapping_->start) + 8, header_bytes);
  json::value header;
  try {
    header = base::parse_json(text, {.depth = 4, .bytes = kMaxHeaderBytes});
  } catch (const base::JsonError& error) {
    throw FormatError(file, "header", error.what(), 8 + error.offset);
  }
  if (!header.is_object()) throw FormatError(file, "header", "is not a JSON object", 8);

  const std::uint64_t data_bytes = mapping_->size - 8 - header_bytes;
  const std::byte* data = mapping_->start + 8 + header_bytes;
  for (const auto& entry : header.get_object()) {
    if (entry.key() == "__metadata__") {
      if (!entry.value().is_object()) throw FormatError(file, "__metadata__", "is not an object");
      for (const auto& item : entry.value().get_object()) {
        if (!item.value().is_string()) throw FormatError(file, "__metadata__", "has a value that is not text");
        metadata_.emplace(item.key(), item.value().get_string());
      }
      continue;
    }
    TensorView& view = tensors_.emplace_back();
    view.name = entry.key();
    view.file = file;
    const std::uint64_t begin = EntryReader(file, view.name, data_bytes).read(entry.value(), view);
    view.data = data + begin;
  }
  std::sort(tensors_.begin(), tensors_.end(), [](const TensorView& a, const TensorView& b) {
    return a.data != b.data ? a.data < b.data : a.bytes != b.bytes ? a.bytes < b.bytes : a.name < b.name;
  });
  std::uint64_t covered = 0;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const auto begin = static_cast<std::uint64_t>(tensors_[i].data - data);
    if (begin != covered)
      throw FormatError(file, "tensor '" + tensors_[i].name + "' data_offsets",
                        begin < covered ? "overlap the tensor before" : "leave a gap after the tensor before",
                        8 + header_bytes + begin);
    covered = begin + tensors_[i].bytes;
    by_name_.emplace(tensors_[i].name, i);
  }
  if (covered != data_bytes)
    throw FormatError(file, "header", "describes " + std::to_string(covered) + " of " + std::to_string(data_bytes) +
                                          " bytes of data; nothing may lie outside the tensors",
                      8 + header_bytes + covered);
}

}  // namespace finetuned::formats
