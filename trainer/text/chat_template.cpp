#include "trainer/text/chat_template.h"

#include "base/errors.h"
#include "base/files.h"
#include "trainer/text/jinja_interpreter.h"
#include "trainer/text/jinja_parser.h"
#include "trainer/text/json_node.h"

namespace finetuned::text {

namespace {

constexpr std::uint64_t kConfigBytes = 4u << 20;

std::string read(const std::filesystem::path& file) {
  try {
    return base::read_file(file, kConfigBytes);
  } catch (const base::FileError& error) {
    throw base::FormatError(file.string(), "", std::string("cannot be read: ") + error.code().message());
  }
}

// The template among several: the one called `default`.
std::optional<std::string> named_default(const JsonNode& list) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list.item(i).at("name").string() == "default") return list.item(i).at("template").string();
  list.refuse("has no template named 'default'");
}

}  // namespace

ChatTemplate::ChatTemplate(std::unique_ptr<const jinja::Program> program, const TemplateLimits& limits)
    : program_(std::move(program)), limits_(limits) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::parse(const std::string& file, std::string_view source,
                                 const TemplateLimits& limits) {
  return ChatTemplate(jinja::parse_program(file, source, limits), limits);
}

std::optional<ChatTemplate> ChatTemplate::load(const std::filesystem::path& model_dir,
                                               const TemplateLimits& limits) {
  const auto jinja_file = model_dir / "chat_template.jinja";
  if (std::filesystem::exists(jinja_file)) return parse(jinja_file.string(), read(jinja_file), limits);
  const auto config_file = model_dir / "tokenizer_config.json";
  if (!std::filesystem::exists(config_file)) return std::nullopt;
  const std::string name = config_file.string();
  base::json::value config;
  try {
    config = base::parse_json(read(config_file), {.depth = 32, .bytes = kConfigBytes});
  } catch (const base::JsonError& error) {
    throw base::FormatError(name, "", std::string("is not JSON: ") + error.what(), error.offset);
  }
  const auto node = JsonNode(name, "", config).find("chat_template");
  if (!node) return std::nullopt;
  const std::optional<std::string> source = node->is_array() ? named_default(*node) : node->string();
  return parse(name, *source, limits);
}

std::string ChatTemplate::render(const RenderInput& input) const {
  return render_spans(input).text;
}

Rendered ChatTemplate::render_spans(const RenderInput& input) const {
  return jinja::Interpreter(*program_, input, limits_).run();
}

}  // namespace finetuned::text
