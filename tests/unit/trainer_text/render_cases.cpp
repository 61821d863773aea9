// Renders the cases of a JSON file, for the comparison with Jinja2: [{"template": ..., "messages": [...],
// ...}] in,
// [{"text": ...} or {"error": ..., "message": ...}] out, on standard output.
#include <boost/json/serialize.hpp>
#include <iostream>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "trainer/text/chat_template.h"

namespace {

namespace json = finetuned::base::json;
using finetuned::text::ChatTemplate;
using finetuned::text::RenderInput;
using finetuned::text::TemplateError;

std::string text_of(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || !value->is_string() ? std::string() : std::string(value->get_string());
}

json::object run(const json::object& one) {
  try {
    const ChatTemplate chat_template = ChatTemplate::parse("case", text_of(one, "template"));
    RenderInput input;
    if (const json::value* messages = one.if_contains("messages")) input.messages = messages->as_array();
    if (const json::value* tools = one.if_contains("tools")) input.tools = *tools;
    if (const json::value* extra = one.if_contains("extra")) input.extra = extra->as_object();
    if (const json::value* prompt = one.if_contains("add_generation_prompt"))
      input.add_generation_prompt = prompt->as_bool();
    input.bos_token = text_of(one, "bos_token");
    input.eos_token = text_of(one, "eos_token");
    return {{"text", chat_template.render(input)}};
  } catch (const finetuned::base::FormatError& error) {
    return {{"error", "format"}, {"message", error.what()}};
  } catch (const TemplateError& error) {
    const char* kinds[] = {"raised", "failed", "limit"};
    return {{"error", kinds[static_cast<int>(error.kind)]}, {"message", error.what()}};
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: render_cases CASES.json\n";
    return 2;
  }
  const auto cases = finetuned::base::parse_json(finetuned::base::read_file(argv[1], 64 << 20),
                                                 {.depth = 64, .bytes = 64 << 20});
  json::array results;
  for (const json::value& one : cases.as_array())
    results.push_back(run(one.as_object()));
  std::cout << json::serialize(results) << '\n';
}
