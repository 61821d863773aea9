#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// A person of an organization.
struct User {
  std::string id;  ///< `user-...`
  std::string email;
  std::optional<std::string> name;
  std::string role;  ///< `owner` or `reader`
  std::optional<std::string> technical_level;
  std::optional<std::string> developer_persona;
  std::int64_t added_at = 0;
};

/// What is not given stays.
struct UserChange {
  std::optional<std::string> role;
  std::optional<std::string> technical_level;
  std::optional<std::string> developer_persona;
};

/// A person in a project.
struct ProjectUser {
  std::string id;  ///< the user's
  std::string email;
  std::optional<std::string> name;
  std::string role;  ///< `owner` or `member`
  std::int64_t added_at = 0;
};

struct Membership {
  std::string project_id;
  std::string project_name;
  std::string role;
};

/// The people of an organization, by their e-mail addresses (in any case) at most once each. System scope.
class UserStore {
 public:
  UserStore(postgres::Transaction& tx, std::string organization_id) : tx_(tx), organization_(std::move(organization_id)) {}

  std::optional<User> find(const std::string& id);
  std::optional<User> find_by_email(const std::string& email);
  /// As a `reader`; nullopt where the address is there already.
  std::optional<User> add(const std::string& email);
  /// With these addresses, or all where there are none.
  Page<User> list(const std::vector<std::string>& emails, const PageRequest& request);
  std::optional<User> update(const std::string& id, const UserChange& change);
  /// From the organization and all its projects. False where there is no such user.
  bool remove(const std::string& id);
  /// The first `most` projects that the user is in.
  std::vector<Membership> memberships(const std::string& id, int most);

 private:
  postgres::Transaction& tx_;
  std::string organization_;
};

/// The people of a project. System scope.
class ProjectUserStore {
 public:
  ProjectUserStore(postgres::Transaction& tx, std::string project_id) : tx_(tx), project_(std::move(project_id)) {}

  /// nullopt where the user, who is one of the project's organization, is in it already.
  std::optional<ProjectUser> add(const std::string& user_id, const std::string& role);
  std::optional<ProjectUser> find(const std::string& user_id);
  Page<ProjectUser> list(const PageRequest& request);
  std::optional<ProjectUser> change_role(const std::string& user_id, const std::string& role);
  bool remove(const std::string& user_id);

 private:
  postgres::Transaction& tx_;
  std::string project_;
};

}  // namespace finetuned::storage
