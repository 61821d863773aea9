#include "trainer/text/supervised.h"

#include <algorithm>
#include <map>

#include "trainer/text/python_text.h"

namespace finetuned::text {

namespace json = base::json;

const std::string_view kPlainChatTemplate =
    "{{ bos_token }}{% for message in messages %}{{ message.role | title }}: {{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

namespace {

/// Bytes of a rendered text that belong to one assistant turn.
struct Turn {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool trained = true;
};

std::string field_of(std::size_t message) {
  return "messages[" + std::to_string(message) + "]";
}

bool only_space(std::string_view text) {
  return strip_left(text, std::nullopt).empty();
}

std::size_t common_prefix(std::string_view a, std::string_view b) {
  const auto cut = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(cut.first - a.begin());
}

json::array calls_as_objects(const json::array& calls) {
  json::array made = calls;
  for (json::value& call : made) {
    json::value* function = call.is_object() ? call.get_object().if_contains("function") : nullptr;
    json::value* arguments = function != nullptr && function->is_object()
                                 ? function->get_object().if_contains("arguments")
                                 : nullptr;
    if (arguments == nullptr || !arguments->is_string()) continue;
    const json::string text = arguments->get_string();
    *arguments =
        base::parse_json(std::string_view(text.data(), text.size()), {.depth = 32, .bytes = 64u << 20});
  }
  return made;
}

RowError row_error(const TemplateError& error) {
  switch (error.kind) {
    case TemplateError::Kind::kRaised:
      return {"messages", "template_refused",
              std::string("the model's chat template refuses the conversation: ") + error.what()};
    case TemplateError::Kind::kLimit:
      return {"messages", "template_limit",
              std::string("the conversation is too much for the model's chat template: ") + error.what() +
                  "; shorten it"};
    case TemplateError::Kind::kFailed:
      break;
  }
  return {"messages", "template_failed",
          std::string("the model's chat template cannot print the conversation: ") + error.what()};
}

}  // namespace

struct RowEncoder::State {
  Tokenizer tokenizer;
  ChatTemplate chat_template;
  bool own_template;
  bool adds_bos = false;
  bool object_arguments = true;

  State(Tokenizer the_tokenizer, std::optional<ChatTemplate> given)
      : tokenizer(std::move(the_tokenizer)),
        chat_template(given ? std::move(*given)
                            : ChatTemplate::parse("the plain chat template", kPlainChatTemplate)),
        own_template(given.has_value()) {
    const std::vector<std::int32_t> empty = tokenizer.encode("");
    adds_bos = !empty.empty() && tokenizer.bos_id() && empty.front() == *tokenizer.bos_id();
    object_arguments = takes_object_arguments();
  }

  bool raw(const Row& row) const { return row.plain_completion && !own_template; }
  bool takes_object_arguments() const;
  json::array messages(const Row& row, std::size_t count) const;
  Rendered render(const json::array& messages, const Row& row, bool add_generation_prompt) const;
  std::string header(const Row& row, std::size_t message) const;
  std::vector<Turn> turns(const Row& row, const Rendered& whole) const;
  Turn turn(const Row& row, const Rendered& whole, std::size_t message,
            std::map<int, std::string>& headers) const;
  std::size_t header_size(const std::string& header, std::string_view turn) const;
  void end_at_special(const std::vector<TokenSpan>& tokens, std::string_view text, Turn& turn) const;
  SupervisedRow label(std::vector<TokenSpan> tokens, const std::vector<Turn>& turns,
                      const SupervisedOptions& options) const;
  SupervisedRow encode_raw(const Row& row, const SupervisedOptions& options) const;
};

// Templates either print the arguments by tojson, which wants an object, or put the text in place.
bool RowEncoder::State::takes_object_arguments() const {
  Row probe;
  probe.messages.push_back({Role::kUser, "x", true, "", "", {}});
  Message call{Role::kAssistant, std::nullopt, true, "", "", {}};
  call.tool_calls.push_back(
      json::object{{"id", "abcdef123"},
                   {"type", "function"},
                   {"function", json::object{{"name", "f"}, {"arguments", json::object{{"a", 1}}}}}});
  probe.messages.push_back(std::move(call));
  try {
    render(messages(probe, 2), probe, false);
    return true;
  } catch (const RowError&) {
    return false;
  }
}

json::array RowEncoder::State::messages(const Row& row, std::size_t count) const {
  json::array made;
  for (std::size_t i = 0; i < count; ++i) {
    const Message& message = row.messages[i];
    const Role role = message.role == Role::kDeveloper ? Role::kSystem : message.role;
    json::object one{{"role", role_name(role)}};
    const bool absent = !message.content || (message.content->empty() && !message.tool_calls.empty());
    if (absent)
      one["content"] = nullptr;
    else
      one["content"] = *message.content;
    if (!message.name.empty()) one["name"] = message.name;
    if (!message.tool_calls.empty())
      one["tool_calls"] = object_arguments ? calls_as_objects(message.tool_calls) : message.tool_calls;
    if (!message.tool_call_id.empty()) one["tool_call_id"] = message.tool_call_id;
    made.push_back(std::move(one));
  }
  return made;
}

Rendered RowEncoder::State::render(const json::array& messages, const Row& row,
                                   bool add_generation_prompt) const {
  RenderInput input;
  input.messages = messages;
  if (!row.tools.empty()) input.tools = row.tools;
  input.add_generation_prompt = add_generation_prompt;
  if (own_template || adds_bos) input.bos_token = tokenizer.bos_text();
  input.eos_token = tokenizer.eos_text();
  try {
    return chat_template.render_spans(input);
  } catch (const TemplateError& error) {
    throw row_error(error);
  }
}

// What a generation prompt would stand there before the assistant's own words; empty where the template has
// none.
std::string RowEncoder::State::header(const Row& row, std::size_t message) const {
  const auto prompt = [&](const json::array& before) -> std::optional<std::string> {
    try {
      const Rendered with = render(before, row, true);
      if (!with.spans.empty() && with.spans.back().message + 1 == before.size())
        return with.text.substr(with.spans.back().end);
      const Rendered without = render(before, row, false);
      return with.text.starts_with(without.text) ? with.text.substr(without.text.size()) : std::string();
    } catch (const RowError&) {
      return std::nullopt;
    }
  };
  if (std::optional<std::string> found = prompt(messages(row, message))) return *found;
  const json::array question{json::object{{"role", "user"}, {"content", "x"}}};
  return prompt(question).value_or("");
}

// How much of the turn is header: all of it, or (where the template prints a turn otherwise than it asks for
// one, as with `<think>`) what both have in common up to a special token.
std::size_t RowEncoder::State::header_size(const std::string& header, std::string_view turn) const {
  const std::size_t common = common_prefix(header, turn);
  if (common == header.size()) return common;
  std::size_t size = 0;
  for (const TokenSpan& token : tokenizer.encode_spans(header, {.add_special = false}))
    if (token.end <= common && tokenizer.is_special(token.id)) size = token.end;
  return size;
}

Turn RowEncoder::State::turn(const Row& row, const Rendered& whole, std::size_t message,
                             std::map<int, std::string>& headers) const {
  const std::string_view text = whole.text;
  std::optional<Turn> found;
  for (const MessageSpan& span : whole.spans) {
    if (span.message != message || only_space(text.substr(span.begin, span.end - span.begin))) continue;
    if (!found) found = Turn{span.begin, span.end, row.messages[message].trained};
    found->end = span.end;
  }
  if (!found)
    throw RowError(field_of(message), "assistant_not_found",
                   "the model's chat template does not print this assistant message; leave it out or choose "
                   "another base model");
  for (const json::value& call : row.messages[message].tool_calls) {
    const json::string& name = call.at("function").at("name").as_string();
    if (text.substr(found->begin, found->end - found->begin)
            .find(std::string_view(name.data(), name.size())) == std::string_view::npos)
      throw RowError(
          field_of(message) + ".tool_calls", "assistant_not_found",
          "the model's chat template does not print tool calls; choose a base model that knows them");
  }
  const int before = message == 0 ? -1 : static_cast<int>(row.messages[message - 1].role);
  if (!headers.contains(before)) headers[before] = header(row, message);
  found->begin += header_size(headers[before], text.substr(found->begin, found->end - found->begin));
  const std::string& eos = tokenizer.eos_text();
  if (!eos.empty() && message + 1 == row.messages.size() && text.substr(found->end).starts_with(eos))
    found->end += eos.size();
  return *found;
}

std::vector<Turn> RowEncoder::State::turns(const Row& row, const Rendered& whole) const {
  std::vector<Turn> all;
  std::map<int, std::string> headers;  // by the role before: a template's headers depend on nothing else
  for (std::size_t i = 0; i < row.messages.size(); ++i)
    if (row.messages[i].role == Role::kAssistant) all.push_back(turn(row, whole, i, headers));
  return all;
}

// The white space behind a turn's end-of-turn token is the template's, and never the model's to say.
void RowEncoder::State::end_at_special(const std::vector<TokenSpan>& tokens, std::string_view text,
                                       Turn& turn) const {
  const auto before_end = [&](const TokenSpan& token) { return token.begin < turn.end; };
  auto at = std::partition_point(tokens.begin(), tokens.end(), before_end);
  while (at != tokens.begin() && std::prev(at)->begin >= turn.begin &&
         !tokenizer.is_special(std::prev(at)->id))
    --at;
  if (at == tokens.begin() || std::prev(at)->begin < turn.begin || std::prev(at)->end > turn.end) return;
  const std::size_t end = std::prev(at)->end;
  if (only_space(text.substr(end, turn.end - end))) turn.end = end;
}

SupervisedRow RowEncoder::State::label(std::vector<TokenSpan> tokens, const std::vector<Turn>& turns,
                                       const SupervisedOptions& options) const {
  SupervisedRow made;
  auto turn = turns.begin();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const TokenSpan& token = tokens[i];
    while (turn != turns.end() && turn->end <= token.begin)
      ++turn;
    const bool inside = turn != turns.end() && token.begin < token.end && token.end > turn->begin;
    const bool supervised = i > 0 && (inside ? turn->trained : options.train_on_inputs);
    made.row.ids.push_back(token.id);
    made.row.labels.push_back(supervised ? token.id : kIgnoreLabel);
  }
  const auto count = [&] {
    const auto ignored = std::count(made.row.labels.begin(), made.row.labels.end(), kIgnoreLabel);
    return RowCount{std::ssize(made.row.ids), std::ssize(made.row.labels) - ignored};
  };
  made.whole = count();
  if (options.max_seq_length > 0 && made.whole.tokens > options.max_seq_length) {
    made.row.ids.resize(static_cast<std::size_t>(options.max_seq_length));
    made.row.labels.resize(static_cast<std::size_t>(options.max_seq_length));
  }
  made.kept = count();
  if (made.kept.supervised == 0)
    throw RowError(
        "messages", "no_supervised_tokens",
        made.whole.supervised == 0
            ? "the row has no token to train on; give an assistant message some text"
            : "the first " + std::to_string(options.max_seq_length) +
                  " tokens of the row hold none to train on; shorten what stands before the answer");
  return made;
}

SupervisedRow RowEncoder::State::encode_raw(const Row& row, const SupervisedOptions& options) const {
  const std::string text = *row.messages[0].content + *row.messages[1].content;
  std::vector<TokenSpan> tokens = tokenizer.encode_spans(text);
  const auto eos = tokenizer.eos_id();
  if (eos && !tokens.empty() && tokens.back().id == *eos && tokens.back().begin == tokens.back().end)
    tokens.pop_back();
  const auto end = static_cast<std::uint32_t>(text.size());
  if (eos) tokens.push_back({*eos, end, end + 1});
  return label(std::move(tokens), {{row.messages[0].content->size(), text.size() + 1, true}}, options);
}

RowEncoder::RowEncoder(const std::filesystem::path& model_dir)
    : RowEncoder(Tokenizer::load(model_dir), ChatTemplate::load(model_dir)) {}
RowEncoder::RowEncoder(Tokenizer tokenizer, std::optional<ChatTemplate> chat_template)
    : state_(std::make_unique<State>(std::move(tokenizer), std::move(chat_template))) {}
RowEncoder::RowEncoder(RowEncoder&&) noexcept = default;
RowEncoder::~RowEncoder() = default;

SupervisedRow RowEncoder::encode(const Row& row, const SupervisedOptions& options) const {
  if (state_->raw(row)) return state_->encode_raw(row, options);
  const Rendered whole = state_->render(state_->messages(row, row.messages.size()), row, false);
  std::vector<Turn> turns = state_->turns(row, whole);
  std::vector<TokenSpan> tokens = state_->tokenizer.encode_spans(whole.text, {.add_special = false});
  for (Turn& turn : turns)
    state_->end_at_special(tokens, whole.text, turn);
  return state_->label(std::move(tokens), turns, options);
}

RowCount RowEncoder::count(const Row& row) const {
  return encode(row).whole;
}

std::string RowEncoder::render(const Row& row, bool add_generation_prompt) const {
  std::size_t count = row.messages.size();
  if (add_generation_prompt && count > 0 && row.messages.back().role == Role::kAssistant) --count;
  if (state_->raw(row)) {
    std::string text = (state_->adds_bos ? state_->tokenizer.bos_text() : "") + *row.messages[0].content;
    if (!add_generation_prompt) text += *row.messages[1].content + state_->tokenizer.eos_text();
    return text;
  }
  return state_->render(state_->messages(row, count), row, add_generation_prompt).text;
}

const Tokenizer& RowEncoder::tokenizer() const {
  return state_->tokenizer;
}
bool RowEncoder::has_chat_template() const {
  return state_->own_template;
}

}  // namespace finetuned::text
