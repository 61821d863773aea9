#include "storage/user_store.h"

#include "base/ids.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

using postgres::Value;

constexpr char kUserColumns[] =
    "id, email, name, role, technical_level, developer_persona, extract(epoch FROM created_at)::bigint AS added_at";
constexpr char kMemberColumns[] =
    "member.id, member.email, member.name, project_user.role,"
    " extract(epoch FROM project_user.created_at)::bigint AS added_at";
constexpr char kMemberFrom[] = "project_user JOIN organization_user member ON member.id = project_user.user_id";
// A person who leaves the organization while someone adds them to a project is in none.
constexpr char kThere[] = "project_user.deleted_at IS NULL AND member.deleted_at IS NULL";
const std::string kSelectUser = std::string("SELECT ") + kUserColumns +
                                " FROM organization_user WHERE organization_id = $1 AND deleted_at IS NULL AND ";

User read_user(const postgres::Row& row) {
  return {row.text("id"),
          row.text("email"),
          row.maybe_text("name"),
          row.text("role"),
          row.maybe_text("technical_level"),
          row.maybe_text("developer_persona"),
          row.integer("added_at")};
}

std::optional<User> maybe_user(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return read_user(rows.row(0));
}

ProjectUser read_member(const postgres::Row& row) {
  return {row.text("id"), row.text("email"), row.maybe_text("name"), row.text("role"), row.integer("added_at")};
}

}  // namespace

std::optional<User> UserStore::find(const std::string& id) {
  return maybe_user(tx_.execute(kSelectUser + "id = $2", {organization_, id}));
}

std::optional<User> UserStore::find_by_email(const std::string& email) {
  return maybe_user(tx_.execute(kSelectUser + "lower(email) = lower($2)", {organization_, email}));
}

std::optional<User> UserStore::add(const std::string& email) {
  return maybe_user(tx_.execute(
      std::string("INSERT INTO organization_user (id, organization_id, email, role) VALUES ($1, $2, $3, 'reader')"
                  " ON CONFLICT (organization_id, lower(email)) WHERE deleted_at IS NULL DO NOTHING RETURNING ") +
          kUserColumns,
      {base::make_id("user"), organization_, email}));
}

Page<User> UserStore::list(const std::vector<std::string>& emails, const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "organization_user", .key = "id", .columns = kUserColumns, .from = "organization_user",
                       .owner = "organization_id = $1",
                       .shown = "deleted_at IS NULL AND ($2::text[] = '{}' OR lower(email) IN"
                                " (SELECT lower(asked) FROM unnest($2::text[]) AS asked))",
                       .owner_values = {organization_}, .shown_values = {Value::texts(emails)}},
                      read_user);
}

std::optional<User> UserStore::update(const std::string& id, const UserChange& change) {
  return maybe_user(tx_.execute(
      std::string("UPDATE organization_user SET role = coalesce($3, role),"
                  " technical_level = coalesce($4, technical_level), developer_persona = coalesce($5, developer_persona)"
                  " WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING ") +
          kUserColumns,
      {organization_, id, change.role, change.technical_level, change.developer_persona}));
}

bool UserStore::remove(const std::string& id) {
  const auto removed = tx_.execute(
      "UPDATE organization_user SET deleted_at = clock_timestamp()"
      " WHERE organization_id = $1 AND id = $2 AND deleted_at IS NULL",
      {organization_, id});
  if (removed.affected_rows() == 0) return false;
  tx_.execute("UPDATE project_user SET deleted_at = clock_timestamp() WHERE user_id = $1 AND deleted_at IS NULL", {id});
  return true;
}

std::vector<Membership> UserStore::memberships(const std::string& id, int most) {
  const auto rows = tx_.execute(
      "SELECT project.id, project.name, project_user.role FROM project_user JOIN project ON project.id = project_id"
      " WHERE user_id = $1 AND deleted_at IS NULL AND organization_id = $2 ORDER BY project_user.seq LIMIT $3",
      {id, organization_, most});
  std::vector<Membership> all;
  for (std::size_t i = 0; i < rows.size(); ++i)
    all.push_back({rows.row(i).text("id"), rows.row(i).text("name"), rows.row(i).text("role")});
  return all;
}

std::optional<ProjectUser> ProjectUserStore::add(const std::string& user_id, const std::string& role) {
  const auto added = tx_.execute(
      "INSERT INTO project_user (project_id, user_id, role) VALUES ($1, $2, $3)"
      " ON CONFLICT (project_id, user_id) WHERE deleted_at IS NULL DO NOTHING",
      {project_, user_id, role});
  if (added.affected_rows() == 0) return std::nullopt;
  return find(user_id);
}

std::optional<ProjectUser> ProjectUserStore::find(const std::string& user_id) {
  const auto rows = tx_.execute(std::string("SELECT ") + kMemberColumns + " FROM " + kMemberFrom +
                                    " WHERE project_id = $1 AND user_id = $2 AND " + kThere,
                                {project_, user_id});
  if (rows.empty()) return std::nullopt;
  return read_member(rows.row(0));
}

Page<ProjectUser> ProjectUserStore::list(const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "project_user", .key = "user_id", .columns = kMemberColumns, .from = kMemberFrom,
                       .owner = "project_id = $1", .shown = kThere, .owner_values = {project_}},
                      read_member);
}

std::optional<ProjectUser> ProjectUserStore::change_role(const std::string& user_id, const std::string& role) {
  tx_.execute("UPDATE project_user SET role = $3 WHERE project_id = $1 AND user_id = $2 AND deleted_at IS NULL",
              {project_, user_id, role});
  return find(user_id);
}

bool ProjectUserStore::remove(const std::string& user_id) {
  return tx_.execute("UPDATE project_user SET deleted_at = clock_timestamp()"
                     " WHERE project_id = $1 AND user_id = $2 AND deleted_at IS NULL",
                     {project_, user_id})
             .affected_rows() == 1;
}

}  // namespace finetuned::storage
