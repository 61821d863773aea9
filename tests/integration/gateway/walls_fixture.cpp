#include "tests/integration/gateway/walls_fixture.h"

#include <set>

#include "tests/integration/support/services.h"

namespace finetuned::tests {

using postgres::Scope;
using postgres::Transaction;

namespace {

std::string replaced(std::string text, const std::vector<std::string>& what) {
  for (const std::string& one : what)
    for (std::size_t at = 0; (at = text.find(one, at)) != std::string::npos; at += 2) text.replace(at, one.size(), "ID");
  return text;
}

std::set<std::string> header_names(const Answer& answer) {
  std::set<std::string> names;
  for (const auto& [name, value] : answer.headers) names.insert(name);
  return names;
}

}  // namespace

std::string hash_of_rows(const std::vector<std::string>& needles) {
  return pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto tables = tx.execute("SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace ="
                                   " 'public'::regnamespace ORDER BY 1");
    std::string sql;
    for (std::size_t i = 0; i < tables.size(); ++i) {
      const std::string table = tables.row(i).text("name");
      sql += (sql.empty() ? "" : " UNION ALL ") + std::string("SELECT '") + table +
             ":' || coalesce(md5(string_agg(row, '' ORDER BY row)), '') AS hash FROM (SELECT"
             " (to_jsonb(t) - 'last_used_at')::text AS row FROM \"" + table + "\" t) rows"
             " WHERE $1::text[] = '{}' OR row LIKE ANY ($1::text[])";
    }
    std::vector<std::string> patterns;
    for (const std::string& needle : needles) patterns.push_back("%" + needle + "%");
    std::string all;
    const auto rows = tx.execute(sql, {postgres::Value::texts(patterns)});
    for (std::size_t i = 0; i < rows.size(); ++i) all += rows.row(i).text("hash") + "\n";
    return all;
  });
}

void Watch::expect_nothing_changed(const std::string& what) {
  const std::string now = hash_of_rows();
  EXPECT_EQ(now, seen_) << what << " changed something";
  seen_ = now;
}

const gateway::Route* WallsTest::route_of(const MatrixEntry& entry) {
  for (const auto& route : gateway_->router().routes())
    if (route->method + " " + route->path_template == entry.route) return route.get();
  return nullptr;
}

Answer WallsTest::ask(const MatrixEntry& entry, const std::string& path, const std::string& key, const std::string& body,
                      std::vector<std::string> headers) {
  Call request;
  request.method = entry.method();
  request.path = path;
  request.key = key;
  request.body = entry.takes_body() ? body : "";
  if (entry.form) request.content_type = kMultipart;
  request.headers = std::move(headers);
  return call(gateway_->port(), request);
}

void WallsTest::expect_alike(const std::string& what, const Ids& theirs, const Ids& none,
                             const std::function<Answer(const Ids&)>& ask_for, std::optional<int> status) {
  const Answer missing = ask_for(none);
  const Answer refused = ask_for(theirs);
  EXPECT_EQ(refused.status, missing.status) << what << ": " << refused.body << missing.body;
  if (status) {
    EXPECT_EQ(refused.status, *status) << what << ": " << refused.body;
  }
  EXPECT_EQ(replaced(refused.body, theirs), replaced(missing.body, none)) << what;
  EXPECT_EQ(header_names(refused), header_names(missing)) << what;
}

const Estate& WallsTest::of_suite(std::size_t which) {
  if (estates_.empty()) {
    estates_.reserve(3);
    estates_.push_back(make_estate(gateway_->port()));
    estates_.push_back(make_estate(gateway_->port()));
    estates_.push_back(make_estate(gateway_->port(), &estates_[0]));
  }
  return estates_[which];
}

}  // namespace finetuned::tests
