#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"

namespace finetuned::inference {

// What the gateway and the inference service say to each other over a unix stream socket: one request a connection, a
// line of JSON from the client, then lines from the service until Done or Failure. Closing the connection cancels the
// request at its next token. Before all text the service says once that a model has taken the request up (Begun), and each
// line about a choice says how many tokens were computed for it since the one before, so that an answer which is broken
// off is counted too. Parsing is strict: a key that is unknown, missing, of another type or out of its bounds is refused.

constexpr std::int64_t kWireVersion = 2;
constexpr std::size_t kRequestBytes = 2u << 20;  ///< of a request's line
constexpr std::size_t kAnswerBytes = 8u << 20;   ///< of an answer's line
constexpr std::size_t kMostPrompts = 16;
constexpr std::size_t kMostMessages = 2048;
constexpr std::size_t kMostTools = 128;
constexpr std::size_t kMostPromptIds = 1u << 18;  ///< of one prompt
constexpr std::int64_t kMostChoices = 8;          ///< of one prompt
constexpr std::int64_t kMostTokens = 1 << 20;     ///< that max_tokens may ask for
constexpr std::int64_t kMostNewTokens = 4096;     ///< of a choice, whatever max_tokens asks for
constexpr std::size_t kMostStops = 4;
constexpr std::size_t kStopBytes = 1024;  ///< of one stop string; at least one byte
constexpr std::int64_t kMostAlternatives = 20;
constexpr std::int64_t kLongestDeadlineMs = 600'000;

/// A line that is not what the two agreed upon: a fault of the program at the other end.
struct WireError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An object of the object store and the SHA-256 (64 hex digits) that its bytes must have.
struct StoredFile {
  std::string object;
  std::string sha256;
};

struct AdapterFiles {
  StoredFile weights;  ///< adapter_model.safetensors
  StoredFile config;   ///< adapter_config.json
};

/// The worker renders these with the base's chat template. Both as in a dataset's row, but for the last message, which
/// may be anybody's.
struct Chat {
  base::json::array messages;
  base::json::array tools;  ///< empty for none
};
using PromptTexts = std::vector<std::string>;
using PromptIds = std::vector<std::vector<std::int32_t>>;

struct InferenceRequest {
  std::string request_id;  ///< 1 to 128 bytes
  std::string base;        ///< the base model's name
  std::optional<AdapterFiles> adapter;
  /// On the wire the key `messages` (with or without `tools`), `prompts` or `prompt_ids`: one of them.
  std::variant<Chat, PromptTexts, PromptIds> input;
  std::int64_t n = 1;                      ///< choices of each prompt
  std::optional<std::int64_t> max_tokens;  ///< >= 0; absent: up to the context's end
  double temperature = 1;                  ///< 0 to 2; 0 takes the likeliest token
  double top_p = 1;                        ///< above 0, to 1
  /// The choice i of each prompt draws from seed + i. JSON's integers are signed: the wire carries the same 64 bits as
  /// an int64.
  std::uint64_t seed = 0;
  std::vector<std::string> stop;
  std::optional<std::int64_t> logprobs;  ///< how many alternatives; absent: no log-probabilities at all
  bool echo = false;                     ///< prompts: the text begins with the prompt; not together with logprobs
  std::int64_t deadline_ms = 60'000;     ///< 1 to kLongestDeadlineMs: to its first token

  std::size_t prompts() const;
  std::size_t choices() const { return prompts() * static_cast<std::size_t>(n); }

  /// One line without its end. Throws base::ApiError 400 naming the field, as the service answers it.
  static InferenceRequest parse(std::string_view line);
  /// The line with its end.
  std::string serialise() const;
};

struct TokenProbability {
  std::string text;   ///< valid UTF-8: `bytes`, what is no whole character of them as U+FFFD
  std::string bytes;  ///< what the token stands for: perhaps a part of a character only. A special token's is its name
                      ///< (`<|im_end|>`), though the answer's text leaves it out.
  double logprob = 0;
  bool operator==(const TokenProbability&) const = default;
};

struct ChosenToken : TokenProbability {
  std::vector<TokenProbability> top;  ///< the likeliest, best first; as many as `logprobs` asked for
  bool operator==(const ChosenToken&) const = default;
};

/// A model computes the prompts now.
struct Begun {
  std::int64_t prompt_tokens = 0;  ///< each prompt counted once
  bool operator==(const Begun&) const = default;
};

/// The next text of a choice (prompt * n + i): whole characters only, nothing of a stop string. Tokens stand in the
/// first piece that is sent after them.
struct TextPiece {
  std::size_t choice = 0;
  std::string text;
  std::vector<ChosenToken> tokens;  ///< only where the request has logprobs
  std::int64_t computed = 0;        ///< tokens of the choice since its line before, whatever their text
  bool operator==(const TextPiece&) const = default;
};

enum class FinishReason { kStop, kLength };
std::string_view finish_name(FinishReason reason);  ///< `stop`, `length`

struct ChoiceEnd {
  std::size_t choice = 0;
  FinishReason finish = FinishReason::kStop;
  std::int64_t computed = 0;  ///< as a TextPiece's
  bool operator==(const ChoiceEnd&) const = default;
};

struct Done {
  std::int64_t prompt_tokens = 0;      ///< each prompt counted once
  std::int64_t completion_tokens = 0;  ///< of all choices, the sum of `computed`; a stop token counts, as it was computed
  std::string model_fingerprint;       ///< `fp_` and 16 hex digits: base, adapter and build
  bool operator==(const Done&) const = default;
};

struct Failure {
  int status = 500;  ///< 400 to 599
  std::string type;
  std::string code;
  std::string message;
  std::optional<std::string> param;
  std::optional<std::int64_t> retry_after_ms;
  bool operator==(const Failure&) const = default;
};

using AnswerLine = std::variant<Begun, TextPiece, ChoiceEnd, Done, Failure>;

/// One line without its end. Texts may hold any character, U+0000 too: a model can say it. Throws WireError.
AnswerLine parse_answer(std::string_view line);
/// The line with its end.
std::string serialise(const AnswerLine& line);

}  // namespace finetuned::inference
