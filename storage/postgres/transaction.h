#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/expects.h"
#include "storage/postgres/errors.h"

namespace finetuned::postgres {

/// Whom a transaction serves: row-level security shows it that project's rows, or all of them.
class Scope {
 public:
  static Scope project(std::string id) {
    base::expects(!id.empty(), "a project's scope names the project");
    return Scope(std::move(id), false);
  }
  static Scope system() { return Scope({}, true); }
  bool is_system() const { return is_system_; }
  const std::string& project_id() const { return project_; }

 private:
  Scope(std::string project, bool is_system) : project_(std::move(project)), is_system_(is_system) {}
  std::string project_;
  bool is_system_;
};

/// A statement's parameter in PostgreSQL's text form, or NULL. Cast in the SQL where the type is not plain (`$1::jsonb`).
class Value {
 public:
  Value(std::nullopt_t) {}
  Value(std::string text) : text_(std::move(text)) {}
  Value(std::string_view text) : text_(std::string(text)) {}
  Value(const char* text) : text_(std::string(text)) {}
  Value(bool flag) : text_(flag ? "true" : "false") {}
  Value(std::integral auto number) : text_(std::to_string(number)) {}
  Value(double number);
  template <class T>
  Value(const std::optional<T>& maybe) {
    if (maybe) *this = Value(*maybe);
  }
  static Value bytes(std::string_view raw);                       ///< for `$n::bytea`
  static Value texts(const std::vector<std::string>& elements);  ///< for `$n::text[]`
  const std::optional<std::string>& text() const { return text_; }

 private:
  std::optional<std::string> text_;
};

class Result;

/// One row of a Result, which must outlive it. Columns are named by the SELECT; an unknown name, and a NULL read as
/// a plain value, are bugs of ours and abort.
class Row {
 public:
  bool is_null(std::string_view column) const;
  std::string text(std::string_view column) const;
  std::int64_t integer(std::string_view column) const;
  double real(std::string_view column) const;
  bool boolean(std::string_view column) const;
  std::string bytes(std::string_view column) const;  ///< bytea
  std::optional<std::string> maybe_text(std::string_view column) const;
  std::optional<std::int64_t> maybe_integer(std::string_view column) const;

 private:
  friend class Result;
  Row(const Result& result, std::size_t index) : result_(result), index_(index) {}
  const std::optional<std::string>& cell(std::string_view column) const;
  const Result& result_;
  std::size_t index_;
  mutable std::size_t next_ = 0;  ///< the column behind the last one read: most are read in the order of the SELECT
};

/// A statement's rows, copied out of the driver.
class Result {
 public:
  std::size_t size() const { return rows_.size(); }
  bool empty() const { return rows_.empty(); }
  Row row(std::size_t index) const;
  std::size_t affected_rows() const { return affected_rows_; }  ///< of INSERT, UPDATE, DELETE

 private:
  friend class Row;
  friend class Transaction;
  std::vector<std::string> columns_;
  std::vector<std::vector<std::optional<std::string>>> rows_;
  std::size_t affected_rows_ = 0;
};

/// An open transaction; made by Pool::transact only, used on its thread only. READ COMMITTED.
class Transaction {
 public:
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  /// Runs one statement. Throws SqlError (the transaction is then lost), DatabaseUnavailable.
  Result execute(std::string_view sql, std::initializer_list<Value> values = {});
  Result execute(std::string_view sql, const std::vector<Value>& values);
  /// A write whose outcome nobody looks at: it travels with the next statement, or with COMMIT, in one message, and what
  /// it throws is thrown there.
  void execute_later(std::string_view sql, std::initializer_list<Value> values = {});
  /// What the same statement with the same values said before in this transaction; it runs where it has not. For what the
  /// transaction has locked, which cannot have changed, and never for what it may have changed itself.
  Result execute_once(std::string_view sql, const std::vector<Value>& values);
  /// Whether execute_once would run nothing.
  bool remembers(std::string_view sql, const std::vector<Value>& values) const;
  /// Calls `work`. What it throws undoes what it has done and comes out here, and the transaction goes on as if `work` had
  /// not been called; a statement that fails ends the transaction all the same. Not within another.
  void nested(const std::function<void()>& work);
  /// Runs several statements without parameters: migrations.
  void execute_script(std::string_view sql);
  const Scope& scope() const;

 private:
  friend class Pool;
  struct State;
  explicit Transaction(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::postgres
