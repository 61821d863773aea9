#include "services/cli/files.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

std::string render_report(const json::value& report) {
  std::string text = "status " + cell(report, "status") + ", " + cell(report, "rows") + " rows\n";
  const json::object* fields = report.if_object();
  const json::value* faults = fields ? fields->if_contains("faults") : nullptr;
  if (!faults || !faults->is_array() || faults->get_array().empty()) return text;
  std::vector<std::vector<std::string>> rows{{"LINE", "FIELD", "CODE", "FAULT"}};
  for (const json::value& fault : faults->get_array())
    rows.push_back({cell(fault, "line"), cell(fault, "field"), cell(fault, "code"), cell(fault, "message")});
  return text + render_table(rows);
}

}  // namespace finetuned::cli
