#include "services/cli/files.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

std::string render_report(const json::value& report) {
  std::string text = cell(report, "rows") + " good rows (" + cell(report, "format") + ")\n";
  const json::object* fields = report.if_object();
  if (!fields) return text;
  if (const json::value* tokens = fields->if_contains("tokens"); tokens && tokens->is_object()) {
    std::vector<std::vector<std::string>> rows{{"MODEL", "TOKENS", "SUPERVISED", "LONGEST ROW"}};
    for (const auto& [model, counts] : tokens->get_object())
      rows.push_back({printable(std::string(model)), cell(counts, "tokens"),
                      cell(counts, "supervised_tokens"), cell(counts, "longest_row_tokens")});
    if (rows.size() > 1) text += render_table(rows);
  }
  if (const json::value* faults = fields->if_contains("faults"); faults && faults->is_array()) {
    std::vector<std::vector<std::string>> rows{{"LINE", "FIELD", "CODE", "FAULT"}};
    for (const json::value& fault : faults->get_array())
      rows.push_back(
          {cell(fault, "line"), cell(fault, "field"), cell(fault, "code"), cell(fault, "message")});
    if (rows.size() > 1) text += cell(report, "fault_count") + " faults\n" + render_table(rows);
  }
  return text;
}

}  // namespace finetuned::cli
