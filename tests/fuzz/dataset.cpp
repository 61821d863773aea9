// A JSONL dataset.
#include <algorithm>
#include <sstream>

#include "tests/fuzz/fuzz.h"
#include "trainer/text/dataset.h"

namespace finetuned::fuzz {
namespace {

constexpr text::DatasetLimits kLimits{.line_bytes = 2048, .kept_faults = 20, .min_examples = 1, .messages = 50};

void check_row(const text::Row& row) {
  expect(!row.messages.empty() && row.messages.size() <= kLimits.messages, "a row has messages within the limit");
  expect(std::any_of(row.messages.begin(), row.messages.end(),
                     [](const text::Message& m) { return m.role == text::Role::kAssistant && m.trained; }),
         "a row has something to train on");
  for (const auto& message : row.messages)
    expect(message.content || !message.tool_calls.empty(), "a message has content or calls");
}

bool equal(const text::Message& a, const text::Message& b) {
  return a.role == b.role && a.content == b.content && a.trained == b.trained && a.name == b.name &&
         a.tool_call_id == b.tool_call_id && a.tool_calls == b.tool_calls;
}

/// A good row is the same wherever it stands.
void check_alone(const text::Row& row, std::string_view bytes) {
  for (std::int64_t line = 1; line < row.line; ++line) bytes.remove_prefix(bytes.find('\n') + 1);
  std::istringstream stream{std::string(bytes.substr(0, bytes.find('\n')))};
  text::DatasetReader reader(stream, kLimits);
  const auto alone = reader.next();
  expect(alone && reader.faults().count() == 0, "a good row is good by itself");
  expect(std::equal(row.messages.begin(), row.messages.end(), alone->messages.begin(), alone->messages.end(), equal) &&
             row.tools == alone->tools && row.plain_completion == alone->plain_completion,
         "a row does not depend on the lines before it");
}

}  // namespace
}  // namespace finetuned::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace finetuned;
  const auto bytes = fuzz::as_text(data, size);
  std::istringstream stream{std::string(bytes)};
  text::DatasetReader reader(stream, fuzz::kLimits);
  std::int64_t last = 0, rows = 0;
  while (const auto row = reader.next()) {
    fuzz::expect(row->line > last && row->line <= reader.lines(), "rows come in the order of their lines");
    last = row->line;
    ++rows;
    fuzz::check_row(*row);
    fuzz::check_alone(*row, bytes);
  }
  fuzz::expect(rows <= reader.examples(), "every row is an example");
  fuzz::expect(rows > 0 || reader.faults().count() > 0, "a dataset without a good row has a fault");
  fuzz::expect(reader.faults().kept().size() <= fuzz::kLimits.kept_faults, "faults are kept up to their limit");
  for (const auto& fault : reader.faults().kept())
    fuzz::expect(!fault.code.empty() && !fault.message.empty() && fault.line <= reader.lines(),
                 "a fault says what and where");
  return 0;
}
