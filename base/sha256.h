#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace finetuned::base {

/// SHA-256 of a stream of bytes (OpenSSL). Move-only; one thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(const void* data, std::size_t size);
  void update(std::string_view data) { update(data.data(), data.size()); }
  /// The digest as 64 lower-case hex digits. Call once.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view data);
/// The digest itself, 32 bytes.
std::string sha256_bytes(std::string_view data);
/// Reads the file in 1 MiB pieces and calls `each_piece` after each. Throws std::runtime_error naming the file where it
/// cannot be read, and what `each_piece` throws.
std::string sha256_file(const std::filesystem::path& file, const std::function<void()>& each_piece = {});
/// HMAC-SHA256, 32 bytes.
std::string hmac_sha256(std::string_view key, std::string_view data);
/// Time does not depend on where the strings differ.
bool constant_time_equal(std::string_view a, std::string_view b);

}  // namespace finetuned::base
