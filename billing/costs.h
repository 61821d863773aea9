#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Which charges count, and what they are summed by.
struct CostQuery {
  std::int64_t start = 0, end = 0;        ///< Unix seconds, the end excluded
  std::vector<std::string> project_ids;  ///< empty: all of the organization
  std::vector<std::string> api_key_ids;  ///< empty: all, and what no key asked for: training
  bool by_project = false, by_line_item = false, by_api_key = false;
  int most_sums = 0;
};

struct CostSum {
  std::int64_t day = 0;  ///< its start in UTC
  std::optional<std::string> project_id, line_item;  ///< where it is summed by them
  std::optional<std::string> api_key_id = {};        ///< the same; training has none
  std::string nano;    ///< nano-dollars in decimal: sums may go beyond 64 bits
  std::string points;  ///< micro-points in decimal that were charged beside them
  std::string tokens;  ///< that were charged for
};

/// What an organization was charged, in the order of the days: holds that were posted, by when they were. What points stood for is
/// no dollars of anybody's: it counts in `points`. Credits, open
/// holds and what was given back are no costs. A line item is one base model's training, or what its answers took in or gave out. System scope.
std::vector<CostSum> costs(postgres::Transaction& tx, const std::string& organization_id, const CostQuery& query);

}  // namespace finetuned::billing
