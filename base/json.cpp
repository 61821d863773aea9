#include "base/json.h"

#include <boost/json/basic_parser_impl.hpp>
#include <utility>
#include <vector>

namespace finetuned::base {

namespace {

using boost::system::error_code;

constexpr const char* kIntegerTooLarge = "an integer is beyond 9223372036854775807";

/// Builds values from Boost.JSON's SAX events and refuses what its own parser lets through.
class StrictHandler {
 public:
  static constexpr std::size_t max_object_size = 1 << 20;
  static constexpr std::size_t max_array_size = 1 << 24;
  static constexpr std::size_t max_key_size = 1 << 16;
  static constexpr std::size_t max_string_size = 1 << 30;

  std::string fault;
  bool nul = false;
  json::value take() { return std::move(root_); }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return open(json::object()); }
  bool on_array_begin(error_code&) { return open(json::array()); }
  bool on_object_end(std::size_t, error_code&) { return close(); }
  bool on_array_end(std::size_t, error_code&) { return close(); }
  bool on_key_part(json::string_view part, std::size_t, error_code& ec) { return append(part, ec); }
  bool on_key(json::string_view part, std::size_t, error_code& ec) {
    if (!append(part, ec)) return false;
    if (open_.back()->as_object().contains(text_)) return refuse("the key '" + text_ + "' stands twice in one object", ec);
    keys_.back() = std::exchange(text_, {});
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, error_code& ec) { return append(part, ec); }
  bool on_string(json::string_view part, std::size_t, error_code& ec) {
    if (!append(part, ec)) return false;
    add(json::string(std::exchange(text_, {})));
    return true;
  }
  bool on_number_part(json::string_view part, error_code&) { return digits_.append(part.data(), part.size()), true; }
  bool on_int64(std::int64_t number, json::string_view, error_code&) { return digits_.clear(), add(number), true; }
  bool on_uint64(std::uint64_t, json::string_view, error_code& ec) {
    return refuse(kIntegerTooLarge, ec);
  }
  bool on_double(double number, json::string_view part, error_code& ec) {
    digits_.append(part.data(), part.size());
    // Boost.JSON hands integers beyond uint64 over as doubles: only the literal itself tells.
    if (std::exchange(digits_, {}).find_first_of(".eE") == std::string::npos) return refuse(kIntegerTooLarge, ec);
    if (!(number - number == 0)) return refuse("a number is too large", ec);
    return add(number), true;
  }
  bool on_bool(bool truth, error_code&) { return add(truth), true; }
  bool on_null(error_code&) { return add(nullptr), true; }
  bool on_comment_part(json::string_view, error_code&) { return true; }
  bool on_comment(json::string_view, error_code&) { return true; }

 private:
  bool refuse(std::string why, error_code& ec) {
    fault = std::move(why);
    ec = json::error::syntax;
    return false;
  }

  bool append(json::string_view part, error_code& ec) {
    if (!nul && part.find('\0') != json::string_view::npos) return refuse("\\u0000 is not allowed in text", ec);
    text_.append(part.data(), part.size());
    return true;
  }

  json::value* add(json::value value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (json::array* array = open_.back()->if_array()) return &array->emplace_back(std::move(value));
    return &open_.back()->as_object().emplace(keys_.back(), std::move(value)).first->value();
  }

  bool open(json::value container) {
    open_.push_back(add(std::move(container)));  // stays put: its parent grows only after it is closed
    keys_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  json::value root_;
  std::vector<json::value*> open_;
  std::vector<std::string> keys_;
  std::string text_;    // of the string or key being read
  std::string digits_;  // of the number being read
};

}  // namespace

json::value parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    throw JsonError("the JSON is larger than " + std::to_string(limits.bytes) + " bytes", limits.bytes);
  json::parse_options options;
  options.max_depth = limits.depth;
  json::basic_parser<StrictHandler> parser(options);
  parser.handler().nul = limits.nul;
  error_code ec;
  std::size_t used = 0;
  try {
    used = parser.write_some(false, text.data(), text.size(), ec);
  } catch (const std::length_error&) {
    throw JsonError("the JSON holds too many elements", 0);
  }
  if (ec) {
    if (!parser.handler().fault.empty()) throw JsonError(parser.handler().fault, used);
    if (ec == json::error::too_deep)
      throw JsonError("the JSON is nested deeper than " + std::to_string(limits.depth) + " levels", used);
    if (ec == json::error::incomplete) throw JsonError("the JSON ends too early", text.size());
    throw JsonError("not valid JSON: " + ec.message(), used);
  }
  while (used < text.size() && (text[used] == ' ' || text[used] == '\n' || text[used] == '\r' || text[used] == '\t')) ++used;
  if (used < text.size()) throw JsonError("something follows after the JSON value", used);
  return parser.handler().take();
}

}  // namespace finetuned::base
