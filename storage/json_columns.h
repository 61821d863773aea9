#pragma once

#include <boost/json/value.hpp>
#include <optional>
#include <string>

#include "storage/model_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// jsonb columns: JSON null is kept as SQL NULL.
postgres::Value json_value(const boost::json::value& json);
boost::json::value json_column(const postgres::Row& row, std::string_view column);

std::string objects_to_json(const ObjectsByName& objects);
ObjectsByName objects_from_json(const std::string& text);

}  // namespace finetuned::storage
