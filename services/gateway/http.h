#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "services/gateway/rate_view.h"

namespace finetuned::gateway {

using StringPairs = std::vector<std::pair<std::string, std::string>>;

/// Who sent a request, as its key says. `project_id` is empty for an admin key.
struct Principal {
  bool admin = false;
  std::string key_id;
  std::string project_id;
  std::string organization_id;
  std::string organization_name;
};

/// A request as handlers see it: checked, decoded, and free of any HTTP library's types.
struct Request {
  std::string id;                     ///< ours, sent back as `x-request-id`
  std::string method;                 ///< `GET`
  std::vector<std::string> segments;  ///< of the path, each percent-decoded: `/v1/models/a%2Fb` is {"v1","models","a/b"}
  StringPairs query;                  ///< decoded, in order; map keys stay as sent: `metadata[k]`
  StringPairs headers;                ///< names in lower case, values without surrounding blanks
  std::vector<std::string> params;    ///< what the path template's `{...}` matched, in order
  Principal principal;                ///< empty on open routes
  bool from_loopback = false;         ///< its connection comes from this machine
  bool over_tls = false;              ///< ... and ends its TLS here
  std::string body;                   ///< whole, except on streaming routes
  mutable RateViews rates;            ///< what the answer says of limits; whoever counts the request narrows it

  /// The first field of that (lower-case) name.
  std::optional<std::string_view> header(std::string_view name) const;
  /// The query value of that name. Throws ApiError 400 `repeated_parameter` where there are two.
  std::optional<std::string_view> query_value(std::string_view name) const;
  /// `metadata[a]=1&metadata[b]=2` for `metadata` gives {{"a","1"},{"b","2"}}. Throws as query_value does.
  StringPairs query_map(std::string_view name) const;
};

/// Yields a response body piece by piece. Read and destroyed on ObjectCalls' threads, one call at a time.
class BodySource {
 public:
  virtual ~BodySource() = default;
  /// Fills up to `size` bytes; 0 only at the end. Throws where reading fails: the connection is then cut, so that a
  /// truncated body never looks whole.
  virtual std::size_t read(char* into, std::size_t size) = 0;
};

/// What to wait for before looking again: until the file descriptor `readable` (-1: none) has bytes, or `at_most`.
struct Wait {
  int readable = -1;
  std::chrono::milliseconds at_most{1000};
};

/// A body that comes as it comes, of no known length: server-sent events. The connection waits without a thread;
/// read() runs on pool threads, one call at a time, and returns soon. Destroyed there too, also when the client goes.
class LiveBody {
 public:
  virtual ~LiveBody() = default;
  /// The next piece; empty where there is none yet, nullopt at the end. Throws where the rest cannot be had: the
  /// connection is then cut, so that the body never looks whole.
  virtual std::optional<std::string> read() = 0;
  virtual Wait wait() const = 0;
  /// Whether it is ended, as if it were whole, when the process is to stop: its client asks another then.
  virtual bool ends_on_drain() const { return false; }
};

class PendingAnswer;

struct Response {
  int status = 200;
  StringPairs headers;                 ///< names in lower case
  std::string body;
  std::shared_ptr<const std::string> kept_body;  ///< where set, the body, which others are answered with as well
  std::shared_ptr<BodySource> source;  ///< where set, the body is `source_bytes` bytes from here; a call that is given up has it, too
  std::uint64_t source_bytes = 0;
  std::unique_ptr<LiveBody> live;         ///< where set, the body comes from here, in chunks
  std::unique_ptr<PendingAnswer> pending; ///< where set, this gives the whole answer, later

  /// The body, where it is at hand.
  std::string_view text() const { return kept_body ? *kept_body : body; }
};

/// An answer that another process works on. Waited for, called and destroyed as a LiveBody is.
class PendingAnswer {
 public:
  virtual ~PendingAnswer() = default;
  /// The answer, which may be pending again; nullopt where there is none yet. Throws as a handler does.
  virtual std::optional<Response> look() = 0;
  virtual Wait wait() const = 0;
};

/// Takes a request body as it arrives. Called and destroyed on ObjectCalls' threads, one call at a time. Destroyed without
/// `finish` when the client goes away or an error ends the request: it then leaves nothing behind.
class BodyConsumer {
 public:
  virtual ~BodyConsumer() = default;
  /// Throws ApiError to end the request early.
  virtual void consume(std::string_view bytes) = 0;
  /// After the last byte: a piece of long work, again and again until it returns false. Others' work gets the threads in
  /// between, so a piece takes a fraction of a second.
  virtual bool work_on() { return false; }
  virtual Response finish() = 0;
};

Response json_response(const base::json::value& body, int status = 200);
/// `text` is JSON already.
Response json_text_response(std::string text, int status = 200);
Response json_text_response(std::shared_ptr<const std::string> text);

/// The standard phrase: 404 is `Not Found`.
std::string_view reason_phrase(int status);

}  // namespace finetuned::gateway
