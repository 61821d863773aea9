#include "trainer/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/errors.h"

namespace finetuned::text {

namespace {

constexpr std::uint32_t kMatchLimit = 50'000'000;
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;
constexpr std::size_t kPatternBytes = 1 << 16;
constexpr std::size_t kJitStackBytes = 1 << 20;

struct CodeFree {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct DataFree {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct ContextFree {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct StackFree {
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

std::string message_of(int code) {
  unsigned char text[256];
  const int size = pcre2_get_error_message(code, text, sizeof text);
  return size > 0 ? std::string(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size))
                  : "unknown error";
}

// Where Oniguruma and PCRE2 read a pattern differently: Oniguruma's \s holds U+0085 (next line), and a
// bracket or `&&` inside a class nests or intersects classes. The first is rewritten; the others are refused.
class PatternTranslation {
 public:
  PatternTranslation(const std::string& file, const std::string& field, std::string_view pattern)
      : file_(file), field_(field), pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '\\' && at_ + 1 < pattern_.size())
        escape();
      else if (in_class_)
        class_character();
      else
        character();
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const char* what) const { throw base::FormatError(file_, field_, what, at_); }

  void copy(std::size_t size) {
    out_ += pattern_.substr(at_, size);
    at_ += size;
  }

  void escape() {
    const char escaped = pattern_[at_ + 1];
    if (escaped != 's' && escaped != 'S') return copy(2);
    if (!in_class_)
      out_ += escaped == 's' ? "[\\s\\x{85}]" : "[^\\s\\x{85}]";
    else if (escaped == 's')
      out_ += "\\s\\x{85}";
    else
      refuse("\\S inside a character class is not supported");
    at_ += 2;
  }

  void character() {
    if (pattern_[at_] != '[') return copy(1);
    in_class_ = true;
    copy(1);
    if (pattern_.substr(at_).starts_with('^')) copy(1);
    if (pattern_.substr(at_).starts_with(']')) copy(1);  // a bracket that stands first is itself
  }

  void class_character() {
    const std::string_view rest = pattern_.substr(at_);
    if (rest.starts_with("[:")) {
      const std::size_t end = rest.find(":]");
      if (end == std::string_view::npos) refuse("a POSIX class is not closed");
      return copy(end + 2);
    }
    if (rest.starts_with('[') || rest.starts_with("&&")) refuse("nested character classes are not supported");
    if (rest.starts_with(']')) in_class_ = false;
    copy(1);
  }

  const std::string& file_;
  const std::string& field_;
  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

// A thread's buffers, kept for its life: one match has no captures that anybody reads.
struct ThreadBuffers {
  std::unique_ptr<pcre2_match_data, DataFree> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, ContextFree> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, StackFree> stack{
      pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr)};

  ThreadBuffers() {
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

ThreadBuffers& thread_buffers() {
  thread_local ThreadBuffers buffers;
  return buffers;
}

}  // namespace

struct Regex::State {
  std::string file;
  std::string field;
  std::unique_ptr<pcre2_code, CodeFree> code;
};

Regex::Regex(const std::string& file, const std::string& field, std::string_view pattern) {
  if (pattern.size() > kPatternBytes)
    throw base::FormatError(file, field, "the pattern is longer than 65536 bytes");
  const std::string translated = PatternTranslation(file, field, pattern).run();
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto state = std::make_unique<State>(State{file, field, nullptr});
  state->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                  &offset, nullptr));
  if (!state->code)
    throw base::FormatError(file, field, "the regular expression does not compile: " + message_of(error),
                            offset);
  pcre2_jit_compile(state->code.get(),
                    PCRE2_JIT_COMPLETE);  // where it cannot, the interpreter does the same, slower
  state_ = std::move(state);
}

Regex::Regex(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex::Search::Search(const Regex& regex, std::string_view text) : regex_(regex), text_(text) {}
Regex::Search::~Search() = default;

std::optional<Match> Regex::Search::next(std::size_t from) {
  ThreadBuffers& buffers = thread_buffers();
  const int found =
      pcre2_match(regex_.state_->code.get(), reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), from,
                  PCRE2_NO_UTF_CHECK, buffers.data.get(), buffers.context.get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0)
    throw base::FormatError(regex_.state_->file, regex_.state_->field,
                            "the regular expression gave up on a text: " + message_of(found) +
                                "; its pattern backtracks too much");
  const PCRE2_SIZE* place = pcre2_get_ovector_pointer(buffers.data.get());
  return Match{place[0], place[1]};
}

}  // namespace finetuned::text
