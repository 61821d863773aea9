#include "trainer/training/run_order.h"

#include <cstring>
#include <fstream>
#include <type_traits>

#include "base/errors.h"
#include "base/files.h"

namespace finetuned::training {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBuffer = 1 << 20;
constexpr std::uint64_t kEnd = 0x46544f5244455231;  // behind the last row

class Writer {
 public:
  explicit Writer(base::DurableFile& file) : file_(file) {}

  void bytes(const void* data, std::size_t size) {
    buffer_.append(static_cast<const char*>(data), size);
    if (buffer_.size() >= kBuffer) flush();
  }
  void flush() {
    file_.write(buffer_);
    buffer_.clear();
  }

 private:
  base::DurableFile& file_;
  std::string buffer_;
};

class Reader {
 public:
  explicit Reader(const fs::path& file) : file_(file), in_(file, std::ios::binary), left_(fs::file_size(file)) {}

  void bytes(void* data, std::size_t size) {
    if (size > left_ || !in_.read(static_cast<char*>(data), static_cast<std::streamsize>(size))) refuse();
    left_ -= size;
  }
  /// For `count` things of so many bytes each, which are there.
  std::size_t count_of(std::uint64_t count, std::size_t size) const {
    if (count > left_ / size) refuse();
    return static_cast<std::size_t>(count);
  }
  [[noreturn]] void refuse() const { throw base::FormatError(file_.string(), "", "is no whole order of a run"); }

 private:
  fs::path file_;
  std::ifstream in_;
  std::uint64_t left_;
};

template <class Value>
concept Plain = std::is_arithmetic_v<Value> || std::is_enum_v<Value>;

void put(Writer& out, const Plain auto& value) { out.bytes(&value, sizeof value); }
void take(Reader& in, Plain auto& value) { in.bytes(&value, sizeof value); }

template <class Value>
void put(Writer& out, const std::vector<Value>& values);
template <class Value>
void take(Reader& in, std::vector<Value>& values);

void put(Writer& out, const std::string& text) {
  put(out, text.size());
  out.bytes(text.data(), text.size());
}
void take(Reader& in, std::string& text) {
  std::size_t size = 0;
  take(in, size);
  text.resize(in.count_of(size, 1));
  in.bytes(text.data(), text.size());
}

void put(Writer& out, const fs::path& path) { put(out, path.string()); }
void take(Reader& in, fs::path& path) {
  std::string text;
  take(in, text);
  path = text;
}

template <class Value>
void put(Writer& out, const std::optional<Value>& value) {
  put(out, value.has_value());
  if (value) put(out, *value);
}
template <class Value>
void take(Reader& in, std::optional<Value>& value) {
  bool there = false;
  take(in, there);
  if (there) take(in, value.emplace());
}

void put(Writer& out, const tensor::DeviceSpec& device) {
  put(out, device.kind);
  put(out, device.index);
}
void take(Reader& in, tensor::DeviceSpec& device) {
  take(in, device.kind);
  take(in, device.index);
}

void put(Writer& out, const text::TokenRow& row) {
  put(out, row.ids);
  put(out, row.labels);
}
void take(Reader& in, text::TokenRow& row) {
  take(in, row.ids);
  take(in, row.labels);
}

template <class Value>
void put(Writer& out, const std::vector<Value>& values) {
  put(out, values.size());
  if constexpr (Plain<Value>) {
    out.bytes(values.data(), values.size() * sizeof(Value));
  } else {
    for (const Value& value : values) put(out, value);
  }
}
template <class Value>
void take(Reader& in, std::vector<Value>& values) {
  std::size_t size = 0;
  take(in, size);
  if constexpr (Plain<Value>) {
    values.resize(in.count_of(size, sizeof(Value)));
    in.bytes(values.data(), values.size() * sizeof(Value));
  } else {
    values.resize(in.count_of(size, sizeof(std::size_t)));
    for (Value& value : values) take(in, value);
  }
}

/// each(field) for every field of a RunConfig. One that is added has to be named here for this to compile.
template <class Config, class Each>
void each_field(Config& config, const Each& each) {
  auto& [base_directory, base_name, out_directory, init_adapter, full_parameter, lora_rank, lora_alpha, lora_dropout,
         use_rslora, target_modules, learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm, batch_size, epochs,
         max_steps, checkpoint_steps, checkpoint_epochs, validation_steps, shuffle, seed, max_seq_length, micro_batch_tokens,
         recompute, memory_limit_bytes, dtype, device, threads] = config;
  const auto all = [&each](auto&... fields) { (each(fields), ...); };
  all(base_directory, base_name, out_directory, init_adapter, full_parameter, lora_rank, lora_alpha, lora_dropout, use_rslora,
      target_modules, learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm, batch_size, epochs, max_steps,
      checkpoint_steps, checkpoint_epochs, validation_steps, shuffle, seed, max_seq_length, micro_batch_tokens, recompute,
      memory_limit_bytes, dtype, device, threads);
}

}  // namespace

void write_run_order(const fs::path& file, const RunConfig& config, const std::vector<text::TokenRow>& training_rows,
                     const std::vector<text::TokenRow>& validation_rows) {
  base::DurableFile durable(file, 0600);
  Writer out(durable);
  each_field(config, [&out](const auto& field) { put(out, field); });
  put(out, training_rows);
  put(out, validation_rows);
  put(out, kEnd);
  out.flush();
  durable.commit();
}

RunOrder read_run_order(const fs::path& file) {
  Reader in(file);
  RunOrder order;
  each_field(order.config, [&in](auto& field) { take(in, field); });
  take(in, order.training);
  take(in, order.validation);
  std::uint64_t end = 0;
  take(in, end);
  if (end != kEnd) in.refuse();
  return order;
}

}  // namespace finetuned::training
