#include "storage/service_account_store.h"

#include "base/ids.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kColumns[] = "id, project_id, name, role, extract(epoch FROM created_at)::bigint AS created_at";

ServiceAccount read_account(const postgres::Row& row) {
  return {row.text("id"), row.text("project_id"), row.text("name"), row.text("role"), row.integer("created_at")};
}

std::optional<ServiceAccount> maybe_account(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return read_account(rows.row(0));
}

}  // namespace

ServiceAccount ServiceAccountStore::create(const std::string& project_id, const std::string& name,
                                           const std::string& role) {
  return read_account(tx_.execute(std::string("INSERT INTO service_account (id, project_id, name, role)"
                                              " VALUES ($1, $2, $3, $4) RETURNING ") + kColumns,
                                  {base::make_id("svcacct"), project_id, name, role})
                          .row(0));
}

std::optional<ServiceAccount> ServiceAccountStore::find(const std::string& project_id, const std::string& id) {
  return maybe_account(tx_.execute(std::string("SELECT ") + kColumns + " FROM service_account"
                                   " WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL",
                                   {project_id, id}));
}

Page<ServiceAccount> ServiceAccountStore::list(const std::string& project_id, const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "service_account", .key = "id", .columns = kColumns, .from = "service_account",
                       .owner = "project_id = $1", .shown = "deleted_at IS NULL", .owner_values = {project_id}},
                      read_account);
}

std::optional<ServiceAccount> ServiceAccountStore::update(const std::string& project_id, const std::string& id,
                                                          const std::optional<std::string>& name,
                                                          const std::optional<std::string>& role) {
  return maybe_account(tx_.execute(std::string("UPDATE service_account SET name = coalesce($3, name),"
                                               " role = coalesce($4, role)"
                                               " WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING ") +
                                       kColumns,
                                   {project_id, id, name, role}));
}

bool ServiceAccountStore::remove(const std::string& project_id, const std::string& id) {
  const auto removed = tx_.execute(
      "UPDATE service_account SET deleted_at = clock_timestamp()"
      " WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL",
      {project_id, id});
  if (removed.affected_rows() == 0) return false;
  tx_.execute("UPDATE api_key SET revoked_at = clock_timestamp() WHERE service_account_id = $1 AND revoked_at IS NULL", {id});
  return true;
}

}  // namespace finetuned::storage
