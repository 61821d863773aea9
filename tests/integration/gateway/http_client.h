#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace finetuned::tests {

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;

  base::json::value json() const { return base::parse_json(body, {.depth = 32, .bytes = body.size()}); }
  std::string header(const std::string& name) const;
  /// Of an error: error.code, error.param, error.message; empty where null.
  std::string code() const { return error_field("code"); }
  std::string param() const { return error_field("param"); }
  std::string message() const { return error_field("message"); }

 private:
  std::string error_field(const char* name) const;
};

/// A string's characters; empty for any other value.
std::string text(const base::json::value& value);

/// A raw connection to 127.0.0.1: sends exactly the given bytes, reads answers by their Content-Length.
class Wire {
 public:
  explicit Wire(std::uint16_t port);
  Wire(Wire&&) = default;
  virtual ~Wire() = default;
  /// False when the server closed the connection.
  bool send(const std::string& bytes);
  /// Says that nothing more will be sent; answers can still be read.
  void end_sending();
  /// Everything that still arrives before the server closes. Fails the test where it sends nothing for ten seconds.
  std::string read_to_end();
  /// nullopt when the connection ends before a whole answer has come. Fails the test after ten seconds.
  /// `without_body`: the answer to HEAD.
  std::optional<Answer> read(bool without_body = false);
  /// What comes, up to and with `marker`. Empty when the connection ends before. Fails the test after ten seconds.
  std::string read_until(const std::string& marker);
  /// Whether the server closes within `patience` (what it sends before is dropped).
  bool closes_within(std::chrono::milliseconds patience);
  void close();

 protected:
  // As ::send and ::recv do it.
  virtual ssize_t put(const char* bytes, std::size_t size);
  virtual ssize_t get(char* into, std::size_t room);
  virtual bool has_bytes_at_hand() const { return false; }  ///< get() has some without the socket
  base::FileDescriptor socket_;

 private:
  bool fill(std::chrono::milliseconds patience);
  std::string buffer_;
};

struct Call {
  std::string method = "GET";
  std::string path;
  std::string key;  ///< no Authorization where empty
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::string> headers;  ///< whole lines
};

std::string to_bytes(const Call& call);
/// One request on a connection of its own.
Answer call(std::uint16_t port, const Call& request);

/// A multipart/form-data body with boundary `cut`.
inline constexpr const char* kMultipart = "multipart/form-data; boundary=cut";
std::string file_part(const std::string& filename, const std::string& content);
std::string field_part(const std::string& name, const std::string& value);
std::string multipart(const std::vector<std::string>& parts);

}  // namespace finetuned::tests
