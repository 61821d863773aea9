#include "trainer/text/dataset.h"

#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kDeveloper:
      return "developer";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
    case Role::kTool:
      return "tool";
  }
  return "";
}

void FaultList::add(RowFault fault) {
  ++count_;
  if (kept_.size() < keep_) kept_.push_back(std::move(fault));
}

DatasetReader::DatasetReader(std::istream& stream, const DatasetLimits& limits)
    : stream_(stream), lines_(stream, limits.line_bytes), limits_(limits), faults_(limits.kept_faults) {}

void DatasetReader::add_fault(std::string code, std::string message) {
  faults_.add({lines_.number(), "", std::move(code), std::move(message)});
}

std::optional<Row> DatasetReader::next() {
  std::string line;
  while (!finished_ && lines_.next(line)) {
    const bool blank = !lines_.too_long() && line.find_first_not_of(" \t") == std::string::npos;
    if (blank) {
      if (blank_lines_++ == 0) blank_from_ = lines_.number();
      continue;
    }
    for (; blank_lines_ > 0; --blank_lines_, ++blank_from_)
      faults_.add(
          {blank_from_, "", "blank_line", "the line is empty; remove it, every line must hold one example"});
    ++examples_;
    if (std::optional<Row> row = read_row(line)) return row;
  }
  finish();
  return std::nullopt;
}

std::optional<Row> DatasetReader::read_row(std::string_view line) {
  if (lines_.too_long()) {
    add_fault("line_too_long", "the line is longer than " + std::to_string(limits_.line_bytes) +
                                   " bytes; split the example into shorter ones");
    return std::nullopt;
  }
  bool good = true;
  if (lines_.number() == 1 && line.starts_with(kByteOrderMark)) {
    add_fault("byte_order_mark", "the file begins with a byte order mark; save it as UTF-8 without one");
    line.remove_prefix(kByteOrderMark.size());
    good = false;
  }
  const std::size_t valid = valid_utf8_prefix(line);
  if (valid < line.size()) {
    add_fault("invalid_utf8",
              "byte " + std::to_string(valid + 1) + " of the line is not UTF-8; save the file as UTF-8");
    return std::nullopt;
  }
  try {
    const base::json::value value = base::parse_json(line, {.depth = 32, .bytes = limits_.line_bytes});
    std::optional<Row> row = parse_row(value, lines_.number(), limits_, faults_);
    if (good) return row;
  } catch (const base::JsonError& error) {
    add_fault("invalid_json", "the line is not valid JSON at byte " + std::to_string(error.offset + 1) +
                                  ": " + error.what() + "; write one JSON object a line");
  }
  return std::nullopt;
}

void DatasetReader::finish() {
  if (finished_) return;
  finished_ = true;
  if (stream_.bad()) {
    faults_.add({0, "", "unreadable_file", "the file could not be read to its end; upload it again"});
  } else if (examples_ == 0) {
    faults_.add({0, "", "empty_file",
                 "the file holds no example; it needs at least " + std::to_string(limits_.min_examples) +
                     ", one JSON object a line"});
  } else if (examples_ < limits_.min_examples) {
    faults_.add({0, "", "too_few_examples",
                 "the file holds " + std::to_string(examples_) + " examples; add more, at least " +
                     std::to_string(limits_.min_examples) + " are needed"});
  }
}

}  // namespace finetuned::text
