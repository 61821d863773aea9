// A chat template, rendered on conversations that hold every kind of value.
#include "base/errors.h"
#include "base/json.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/text/chat_template.h"

namespace finetuned::fuzz {
namespace {

constexpr text::TemplateLimits kLimits{
    .source_bytes = 1 << 14, .nesting = 100, .steps = 100'000, .output_bytes = 1 << 18};

text::RenderInput make_input(bool with_tools) {
  text::RenderInput input;
  input.messages = base::parse_json(R"([{"role":"system","content":"Be brief."},
    {"role":"user","content":"<|im_end|> é\n  "},
    {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f",
     "arguments":{"a":[1,-2.5e3,true,null,"x"],"b":{}}}}]},{"role":"tool","tool_call_id":"c","content":"{\"n\":1}"},
    {"role":"assistant","content":""}])").as_array();
  if (with_tools) input.tools = base::parse_json(R"([{"type":"function","function":{"name":"f","parameters":{}}}])");
  input.add_generation_prompt = with_tools;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.extra = {{"enable_thinking", false}, {"n", 3}};
  return input;
}

void check(const text::ChatTemplate& chat, const text::RenderInput& input) {
  try {
    const text::Rendered rendered = chat.render_spans(input);
    expect(rendered.text.size() <= kLimits.output_bytes, "what is rendered is within its limit");
    std::size_t at = 0;
    for (const auto& span : rendered.spans) {
      expect(at <= span.begin && span.begin <= span.end && span.end <= rendered.text.size(),
             "spans follow one another in the text");
      expect(span.message < input.messages.size(), "a span belongs to a message");
      at = span.end;
    }
    expect(chat.render(input) == rendered.text, "the same conversation gives the same text");
  } catch (const text::TemplateError& error) {
    expect(*error.what() != '\0' || error.kind == text::TemplateError::Kind::kRaised, "an error says why");
  }
}

}  // namespace
}  // namespace finetuned::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace finetuned;
  static const text::RenderInput inputs[] = {fuzz::make_input(false), fuzz::make_input(true)};
  try {
    const auto chat = text::ChatTemplate::parse("fuzz", fuzz::as_text(data, size), fuzz::kLimits);
    for (const auto& input : inputs) fuzz::check(chat, input);
  } catch (const base::FormatError& error) {
    fuzz::expect(!error.offset || *error.offset <= size, "a fault's place is in the template");
  }
  return 0;
}
