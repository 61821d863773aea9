#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace finetuned::text {

namespace jinja {
struct Program;
}

/// Why a conversation could not be rendered: a fault of the row or of the template, never of ours.
struct TemplateError : std::runtime_error {
  enum class Kind {
    kRaised,  ///< the template called raise_exception: it refuses this conversation, and says why
    kFailed,  ///< an operation on values that do not allow it (`none + 'a'`, an undefined attribute's
              ///< attribute)
    kLimit,   ///< more steps, output or nesting than TemplateLimits
  };
  Kind kind;
  TemplateError(Kind error_kind, const std::string& message)
      : std::runtime_error(message), kind(error_kind) {}
};

/// Bounds on one template and on one rendering of it.
struct TemplateLimits {
  std::size_t source_bytes = 1 << 18;
  std::size_t nesting = 100;         ///< depth of nested tags and expressions, and of macro calls
  std::uint64_t steps = 20'000'000;  ///< work of one rendering: nodes evaluated, bytes and elements made
  std::size_t output_bytes = 64u << 20;
};

/// What a chat template sees. `messages` and the rest are plain JSON; the template can reach nothing else.
struct RenderInput {
  base::json::array messages;
  base::json::value tools = nullptr;  ///< an array, or null for none
  bool add_generation_prompt = false;
  std::string bos_token;
  std::string eos_token;
  base::json::object extra;  ///< further variables, e.g. `enable_thinking`
  /// What strftime_now shows. Fixed unless set, so that the same row always gives the same tokens.
  std::chrono::sys_seconds now = std::chrono::sys_days{std::chrono::year{2024} / 7 / 26};
};

/// The bytes [begin, end) of a rendered text that were written while a `for` loop stood at messages[message].
/// One message can own several pieces; pieces come in text order and do not overlap.
struct MessageSpan {
  std::size_t message = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct Rendered {
  std::string text;
  std::vector<MessageSpan> spans;
};

/// A model's chat template: a bounded subset of Jinja2 that renders as Jinja2 does with trim_blocks and
/// lstrip_blocks set, as Hugging Face sets them, and Hugging Face's own `tojson`, `raise_exception` and
/// `strftime_now`. Statements: output, if/elif/else, for (filter on the sequence, else, `loop.*`), set (also
/// as a block, also on a namespace), macro, comments, whitespace control. No attribute of anything but data.
/// Immutable.
class ChatTemplate {
 public:
  /// Throws base::FormatError naming `file`, the field `chat_template` and the byte offset for anything
  /// outside the subset, found at once and not first when a conversation gets there.
  static ChatTemplate parse(const std::string& file, std::string_view source,
                            const TemplateLimits& limits = {});
  /// The template of a Hugging Face directory: chat_template.jinja, else `chat_template` of
  /// tokenizer_config.json (a string, or a list of named ones, of which `default`). Absent where the model
  /// has none.
  static std::optional<ChatTemplate> load(const std::filesystem::path& model_dir,
                                          const TemplateLimits& limits = {});

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// Throws TemplateError.
  std::string render(const RenderInput& input) const;
  Rendered render_spans(const RenderInput& input) const;

 private:
  ChatTemplate(std::unique_ptr<const jinja::Program> program, const TemplateLimits& limits);
  std::unique_ptr<const jinja::Program> program_;
  TemplateLimits limits_;
};

}  // namespace finetuned::text
