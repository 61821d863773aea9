#include "trainer/text/dataset.h"

#include <algorithm>

#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

constexpr std::size_t kPiece = 1 << 16;
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
    : stream_(stream), limits_(limits), faults_(limits.kept_faults) {}

void DatasetReader::add_fault(std::string code, std::string message) {
  faults_.add({line_, "", std::move(code), std::move(message)});
}

bool DatasetReader::refill() {
  buffer_.resize(kPiece);
  stream_.read(buffer_.data(), static_cast<std::streamsize>(kPiece));
  buffer_.resize(static_cast<std::size_t>(stream_.gcount()));
  buffer_at_ = 0;
  return !buffer_.empty();
}

// The next line without its end; of a line beyond the limit only that it was too long. False at the end of
// the file.
bool DatasetReader::read_line(std::string& line) {
  line.clear();
  line_too_long_ = false;
  bool any = false;
  while (buffer_at_ < buffer_.size() || refill()) {
    any = true;
    const std::size_t end = std::min(buffer_.find('\n', buffer_at_), buffer_.size());
    const std::size_t size = end - buffer_at_;
    if (line.size() + size > limits_.line_bytes) line_too_long_ = true;
    if (line_too_long_)
      line.clear();
    else
      line.append(buffer_, buffer_at_, size);
    buffer_at_ = end;
    if (end < buffer_.size()) {
      ++buffer_at_;
      break;
    }
  }
  if (!any) return false;
  ++line_;
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

std::optional<Row> DatasetReader::next() {
  std::string line;
  while (!finished_ && read_line(line)) {
    const bool blank = !line_too_long_ && line.find_first_not_of(" \t") == std::string::npos;
    if (blank) {
      if (blank_lines_++ == 0) blank_from_ = line_;
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
  if (line_too_long_) {
    add_fault("line_too_long", "the line is longer than " + std::to_string(limits_.line_bytes) +
                                   " bytes; split the example into shorter ones");
    return std::nullopt;
  }
  bool good = true;
  if (line_ == 1 && line.starts_with(kByteOrderMark)) {
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
    std::optional<Row> row = parse_row(value, line_, limits_, faults_);
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
