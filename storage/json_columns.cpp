#include "storage/json_columns.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>

namespace finetuned::storage {

postgres::Value json_value(const boost::json::value& json) {
  if (json.is_null()) return std::nullopt;
  return boost::json::serialize(json);
}

boost::json::value json_column(const postgres::Row& row, std::string_view column) {
  const auto text = row.maybe_text(column);
  if (!text) return nullptr;
  return boost::json::parse(*text);
}

std::string objects_to_json(const ObjectsByName& objects) {
  boost::json::object json;
  for (const auto& [name, id] : objects) json[name] = id;
  return boost::json::serialize(json);
}

ObjectsByName objects_from_json(const std::string& text) {
  ObjectsByName objects;
  const boost::json::value json = boost::json::parse(text);
  for (const auto& member : json.as_object()) objects[member.key()] = boost::json::value_to<std::string>(member.value());
  return objects;
}

}  // namespace finetuned::storage
