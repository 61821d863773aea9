#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "storage/postgres/transaction.h"

namespace finetuned::postgres {

struct PoolOptions {
  std::string url;              ///< libpq connection string or URI; the secret in it is never logged
  std::size_t connections = 4;  ///< as many as threads call transact(): then no one waits for a connection
  std::chrono::milliseconds statement_timeout{10'000};
  std::chrono::milliseconds checkout_timeout{5'000};  ///< longest wait for a free connection
  std::string application_name = "finetuned";
};

/// A bounded set of connections, opened when first needed and again after they break. Thread-safe; transact() blocks
/// its thread, so coroutines reach it through base::offload. A session keeps the statements that it has prepared, so no
/// proxy that hands sessions around between transactions may stand before the server.
class Pool {
 public:
  /// Connects to nothing yet.
  explicit Pool(PoolOptions options);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Calls `work(Transaction&)` in a transaction of `scope`: commits when it returns, rolls back when it throws, and
  /// returns its result. BEGIN and the scope's settings travel with its first statement. On a serialization failure or
  /// deadlock (40001, 40P01), and where a connection turns out to be dead, the whole of `work` runs again, at most five
  /// times in all: it must have no effect outside the transaction. `limit` is the longest one statement may
  /// take; without it the pool's. Throws what `work` throws, SqlError, DatabaseUnavailable, CommitOutcomeUnknown.
  ///
  ///     auto job = pool.transact(Scope::project(id), [&](Transaction& tx) { return JobStore(tx).find(job_id); });
  template <class Work>
  auto transact(const Scope& scope, Work&& work, std::optional<std::chrono::milliseconds> limit = std::nullopt)
      -> std::invoke_result_t<Work&, Transaction&> {
    using Returned = std::invoke_result_t<Work&, Transaction&>;
    if constexpr (std::is_void_v<Returned>) {
      run(scope, limit, [&work](Transaction& tx) { work(tx); }, {});
    } else {
      std::optional<Returned> returned;
      run(scope, limit, [&](Transaction& tx) { returned.emplace(work(tx)); }, {});
      return std::move(*returned);
    }
  }

  /// The same for work that reads by one statement, in one round trip: the scope's settings and the statement travel as
  /// one text, which is one transaction and ends with it. A second statement aborts; what the first one writes is
  /// committed without a word, so let it be a SELECT.
  template <class Work>
  auto read_one(const Scope& scope, Work&& work) -> std::invoke_result_t<Work&, Transaction&> {
    std::optional<std::invoke_result_t<Work&, Transaction&>> returned;
    run(scope, std::nullopt, [&](Transaction& tx) { returned.emplace(work(tx)); }, {Kind::kOneStatement});
    return std::move(*returned);
  }

  /// The same for work that only reads, by any number of statements: all of them see the database as it is at the first one
  /// (REPEATABLE READ, READ ONLY). `exported`: what pg_export_snapshot() has said in a transaction that is still open; both then
  /// see the same.
  template <class Work>
  auto snapshot(const Scope& scope, Work&& work, std::optional<std::chrono::milliseconds> limit = std::nullopt,
                const std::string& exported = {}) -> std::invoke_result_t<Work&, Transaction&> {
    std::optional<std::invoke_result_t<Work&, Transaction&>> returned;
    run(scope, limit, [&](Transaction& tx) { returned.emplace(work(tx)); }, {Kind::kSnapshot, exported});
    return std::move(*returned);
  }

  /// A statement outside any scope's rows: true when the server answers within `limit`. For /readyz.
  bool answers(std::chrono::milliseconds limit) noexcept;

  /// Session-level advisory lock held while `work` runs on one connection outside a transaction: the migrator's.
  void with_advisory_lock(std::int64_t key, const std::function<void()>& work);

 private:
  struct Connection;
  struct State;
  enum class Kind { kWhole, kSnapshot, kOneStatement };
  struct Opening {
    Kind kind = Kind::kWhole;
    std::string exported = {};  ///< of a snapshot
  };
  static std::string text_of(const Opening& opening);
  std::unique_ptr<Transaction> begin(Connection& connection, const Scope& scope, std::chrono::milliseconds limit, const Opening& opening);
  void run(const Scope& scope, std::optional<std::chrono::milliseconds> limit, const std::function<void(Transaction&)>& work,
           const Opening& opening);
  void attempt(Connection& connection, const Scope& scope, std::chrono::milliseconds limit,
               const std::function<void(Transaction&)>& work, const Opening& opening);
  void roll_back(Connection& connection, Transaction& tx);
  void commit(Connection& connection, Transaction& tx);
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::postgres
