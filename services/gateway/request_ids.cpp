#include "services/gateway/request_ids.h"

#include <string_view>

#include "base/ids.h"

namespace finetuned::gateway {

namespace {

constexpr std::string_view kPrefix = "req-";
constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::size_t kRandomDigits = 24;
constexpr std::size_t kBytesAtOnce = 4096;
constexpr unsigned kEven = 256 / kDigits.size() * kDigits.size();  // larger bytes would favour low digits

}  // namespace

std::string make_request_id() {
  thread_local std::string bytes;
  thread_local std::size_t used = 0;
  std::string id;
  id.reserve(kPrefix.size() + kRandomDigits);
  id = kPrefix;
  while (id.size() < kPrefix.size() + kRandomDigits) {
    if (used == bytes.size()) {
      bytes = base::random_bytes(kBytesAtOnce);
      used = 0;
    }
    const auto byte = static_cast<unsigned char>(bytes[used++]);
    if (byte < kEven) id += kDigits[byte % kDigits.size()];
  }
  return id;
}

}  // namespace finetuned::gateway
