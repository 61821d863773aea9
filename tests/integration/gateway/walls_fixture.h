#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "services/gateway/router.h"
#include "tests/integration/gateway/route_matrix.h"

namespace finetuned::tests {

/// Hashes of the database's rows that hold one of `needles` (none: of all rows), but for when keys were last used.
std::string hash_of_rows(const std::vector<std::string>& needles = {});

/// Sees whether rows change between two looks at the database.
class Watch {
 public:
  /// `what` was done since the last look.
  void expect_nothing_changed(const std::string& what);

 private:
  std::string seen_ = hash_of_rows();
};

/// A gateway with three estates on it. Nothing here changes them; who must change one takes a fresh one.
class WallsTest : public GatewayTest {
 protected:
  using Ids = std::vector<std::string>;

  static const Estate& mine() { return of_suite(0); }
  static const Estate& stranger() { return of_suite(1); }   ///< another organization's
  static const Estate& neighbour() { return of_suite(2); }  ///< another project of mine()'s organization
  static Estate fresh() { return make_estate(gateway_->port()); }

  static const gateway::Route* route_of(const MatrixEntry& entry);
  static bool is_admin(const MatrixEntry& entry) { return route_of(entry)->access == gateway::Access::kAdmin; }
  static std::string key_for(const MatrixEntry& entry, const Estate& estate) {
    return is_admin(entry) ? estate.tenant.admin_key : estate.tenant.key;
  }

  Answer ask(const MatrixEntry& entry, const std::string& path, const std::string& key, const std::string& body,
             std::vector<std::string> headers = {});
  /// That `theirs` are answered as `none`, which nobody has.
  void expect_alike(const std::string& what, const Ids& theirs, const Ids& none,
                    const std::function<Answer(const Ids&)>& ask_for, std::optional<int> status);

  static void TearDownTestSuite() {
    estates_.clear();
    GatewayTest::TearDownTestSuite();
  }

 private:
  static const Estate& of_suite(std::size_t which);
  static inline std::vector<Estate> estates_;
};

}  // namespace finetuned::tests
