#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace finetuned::base {

/// What was sealed cannot be opened: another key, another purpose, or altered bytes.
struct SealError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Keeps secrets that must be read again: AES-256-GCM under one key, a random nonce each. Thread-safe.
class SealingKey {
 public:
  static constexpr std::size_t kBytes = 32;

  /// Throws UsageError where `text` is not 32 bytes in base64; it does not repeat the text.
  static SealingKey from_base64(std::string_view text);
  /// The key kept in `file`, made when there is none yet (mode 0600, durable): of several processes that make it at
  /// once, all get the first one's. Throws UsageError where the file is open to others or holds no key, FileError.
  static SealingKey load_or_create(const std::filesystem::path& file);

  /// Nonce, ciphertext and tag. `purpose` (the row's id) is not kept, but must be the same for opening: so that sealed
  /// bytes moved to another row do not open.
  std::string seal(std::string_view secret, std::string_view purpose) const;
  /// Throws SealError.
  std::string open(std::string_view sealed, std::string_view purpose) const;
  /// A key of 32 bytes for something else than sealing, always the same one for `use`.
  std::string derive(std::string_view use) const;

 private:
  explicit SealingKey(std::string key) : key_(std::move(key)) {}
  std::string key_;
};

struct Settings;

/// The key that webhooks' signing secrets are sealed with, and that download URLs' key is derived from: webhooks.secret_key, or the data directory's. Throws
/// ConfigError, FileError.
SealingKey webhooks_key(const Settings& settings);

}  // namespace finetuned::base
