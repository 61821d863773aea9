#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace finetuned::billing {

/// One row of RFC 4180, its line end (CRLF) included; fields with a comma, a quote or a line end are quoted.
std::string csv_row(const std::vector<std::string>& fields);

}  // namespace finetuned::billing
