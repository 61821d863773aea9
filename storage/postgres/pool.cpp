#include "storage/postgres/pool.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <pqxx/connection>
#include <pqxx/except>
#include <pqxx/nontransaction>
#include <pqxx/prepared_statement>
#include <pqxx/result>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "base/expects.h"
#include "base/log.h"

namespace finetuned::postgres {

namespace {

constexpr int kMostAttempts = 5;
constexpr char kSerializationFailure[] = "40001";
constexpr char kDeadlock[] = "40P01";
constexpr char kQueryCanceled[] = "57014";
constexpr char kTransactionFailed[] = "25P02";

/// The connection is gone; whether that matters depends on which statement was under way.
struct ConnectionLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string with_options(const std::string& url, const std::string& application_name) {
  const bool is_uri = url.starts_with("postgresql://") || url.starts_with("postgres://");
  const auto add = [&](std::string text, const std::string& key, const std::string& value) {
    if (text.find(key + "=") != std::string::npos) return text;
    if (is_uri) return text + (text.find('?') == std::string::npos ? "?" : "&") + key + "=" + value;
    return text + " " + key + "=" + value;
  };
  return add(add(url, "connect_timeout", "5"), "application_name", application_name);
}

/// Whether an SQLSTATE says that the server ended the session or is not up (yet).
bool means_connection_lost(const std::string& sqlstate) {
  return sqlstate.starts_with("08") || sqlstate == "57P01" || sqlstate == "57P02" || sqlstate == "57P03";
}

bool is_retryable(const SqlError& error) {
  return error.sqlstate == kSerializationFailure || error.sqlstate == kDeadlock;
}

/// Runs a driver call and gives its exceptions our types: ConnectionLost or SqlError.
template <class Call>
auto driven(pqxx::connection_base& connection, Call&& call) {
  try {
    return call();
  } catch (const pqxx::broken_connection& error) {
    throw ConnectionLost(error.what());
  } catch (const pqxx::serialization_failure& error) {
    throw SqlError(kSerializationFailure, error.what());
  } catch (const pqxx::deadlock_detected& error) {
    throw SqlError(kDeadlock, error.what());
  } catch (const pqxx::insufficient_privilege& error) {  // libpqxx 6 drops its code
    throw SqlError("42501", error.what());
  } catch (const pqxx::sql_error& error) {
    if (!connection.is_open() || means_connection_lost(error.sqlstate())) throw ConnectionLost(error.what());
    throw SqlError(error.sqlstate(), error.what());
  } catch (const pqxx::failure& error) {
    if (!connection.is_open()) throw ConnectionLost(error.what());
    throw SqlError("", error.what());
  }
}

/// What row-level security and the server's watchdog go by, until the transaction's end.
std::string settings_for(pqxx::connection_base& link, const Scope& scope, std::chrono::milliseconds limit) {
  return "SELECT set_config('statement_timeout', '" + std::to_string(limit.count()) + "', true), set_config('finetuned.scope', '" +
         (scope.is_system() ? "system" : "project") + "', true), set_config('finetuned.project_id', " +
         link.quote(scope.project_id()) + ", true)";
}

/// The statement with its parameters written into it, as literals that the server's own driver quotes.
std::string with_literals(pqxx::connection_base& link, std::string_view sql, const std::vector<Value>& values) {
  std::string text;
  bool quoted = false;
  for (std::size_t i = 0; i < sql.size(); ++i) {
    quoted ^= sql[i] == '\'';
    if (quoted || sql[i] != '$') {
      text += sql[i];
      continue;
    }
    std::size_t number = 0;
    while (i + 1 < sql.size() && sql[i + 1] >= '0' && sql[i + 1] <= '9') number = number * 10 + static_cast<std::size_t>(sql[++i] - '0');
    base::expects(number >= 1 && number <= values.size(), "every parameter has a value");
    const auto& value = values[number - 1].text();
    text += value ? link.quote(*value) : "NULL";
  }
  return text;
}

std::chrono::milliseconds pause_before(int attempt) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::chrono::milliseconds(std::uniform_int_distribution<int>(1, 10 << attempt)(random));
}

}  // namespace

struct Pool::Connection {
  std::unique_ptr<pqxx::connection> link;  ///< null until first needed, and after it broke
};

struct Pool::State {
  PoolOptions options;
  std::string full_url;
  std::mutex mutex;
  std::condition_variable freed;
  std::vector<std::unique_ptr<Connection>> idle;

  std::unique_ptr<pqxx::connection> connect() const {
    try {
      auto link = std::make_unique<pqxx::connection>(full_url);
      pqxx::nontransaction setup(*link);
      setup.exec("SET client_min_messages = error; SET idle_in_transaction_session_timeout = '120s'");
      return link;
    } catch (const pqxx::failure& error) {
      base::log_warn("the database cannot be reached", {{"error", error.what()}});
      throw DatabaseUnavailable("The database cannot be reached right now; try again shortly.");
    }
  }
};

struct Transaction::State {
  State(pqxx::connection& link, Scope whom) : session(link), scope(std::move(whom)) {}
  pqxx::nontransaction session;  ///< BEGIN and COMMIT are ours, so that an error in COMMIT is told apart
  Scope scope;
  std::exception_ptr failure;  ///< of the statement that ended the transaction
  std::string opening;         ///< of a transaction of one statement: what goes before it
  bool spent = false;          ///< it has been sent

  template <class Call>
  auto statement(Call&& call) {
    if (failure) throw SqlError(kTransactionFailed, "a statement before this one failed; the transaction is over");
    try {
      return driven(session.conn(), call);
    } catch (...) {
      failure = std::current_exception();
      throw;
    }
  }
};

Transaction::Transaction(std::unique_ptr<State> state) : state_(std::move(state)) {}
Transaction::~Transaction() = default;

const Scope& Transaction::scope() const { return state_->scope; }

Result Transaction::execute(std::string_view sql, std::initializer_list<Value> values) {
  return execute(sql, std::vector<Value>(values));
}

Result Transaction::execute(std::string_view sql, const std::vector<Value>& values) {
  std::vector<const char*> texts;
  texts.reserve(values.size());
  for (const Value& value : values) texts.push_back(value.text() ? value.text()->c_str() : nullptr);
  const pqxx::result answer = state_->statement([&] {
    if (!state_->opening.empty()) {
      base::expects(!std::exchange(state_->spent, true), "read_one sends one statement");
      return state_->session.exec(state_->opening + ";" + with_literals(state_->session.conn(), sql, values));
    }
    return state_->session.exec_params(std::string(sql),
                                       pqxx::prepare::make_dynamic_params(texts.begin(), texts.end()));
  });
  Result result;
  result.affected_rows_ = answer.affected_rows();
  for (pqxx::row::size_type c = 0; c < answer.columns(); ++c) result.columns_.emplace_back(answer.column_name(c));
  result.rows_.reserve(answer.size());
  for (const auto& row : answer) {
    auto& cells = result.rows_.emplace_back();
    cells.reserve(row.size());
    for (const auto& field : row) {
      if (field.is_null())
        cells.emplace_back(std::nullopt);
      else
        cells.emplace_back(std::string(field.c_str(), field.size()));
    }
  }
  return result;
}

void Transaction::execute_script(std::string_view sql) {
  state_->statement([&] { return state_->session.exec(std::string(sql)); });
}

Pool::Pool(PoolOptions options) : state_(std::make_unique<State>()) {
  base::expects(options.connections >= 1, "a pool of at least one connection");
  state_->full_url = with_options(options.url, options.application_name);
  state_->options = std::move(options);
  for (std::size_t i = 0; i < state_->options.connections; ++i)
    state_->idle.push_back(std::make_unique<Connection>());
}

Pool::~Pool() {
  base::expects(state_->idle.size() == state_->options.connections, "no transaction outlives its pool");
}

void Pool::run(const Scope& scope, std::optional<std::chrono::milliseconds> limit,
               const std::function<void(Transaction&)>& work, Kind kind) {
  std::unique_ptr<Connection> connection;
  {
    std::unique_lock lock(state_->mutex);
    const bool got = state_->freed.wait_for(lock, state_->options.checkout_timeout,
                                            [this] { return !state_->idle.empty(); });
    if (!got) throw DatabaseUnavailable("The database is busy; try again shortly.");
    connection = std::move(state_->idle.back());
    state_->idle.pop_back();
  }
  struct GiveBack {
    Pool::State& state;
    std::unique_ptr<Connection>& connection;
    ~GiveBack() {
      const std::lock_guard lock(state.mutex);
      state.idle.push_back(std::move(connection));
      state.freed.notify_one();
    }
  } give_back{*state_, connection};

  for (int tried = 1;; ++tried) {
    try {
      const auto longest = limit.value_or(state_->options.statement_timeout);
      if (kind == Kind::kWhole)
        attempt(*connection, scope, longest, work);
      else
        attempt_one(*connection, scope, longest, work);
      return;
    } catch (const SqlError& error) {
      if (error.sqlstate == kQueryCanceled)
        throw DatabaseUnavailable("The database took longer than this request may; try again shortly.");
      if (!is_retryable(error) || tried == kMostAttempts) throw;
      std::this_thread::sleep_for(pause_before(tried));
    }
  }
}

void Pool::attempt(Connection& connection, const Scope& scope, std::chrono::milliseconds limit,
                   const std::function<void(Transaction&)>& work) {
  std::unique_ptr<Transaction> tx;
  const auto begin = [&] {
    const bool reused = connection.link != nullptr;
    if (!reused) connection.link = state_->connect();
    auto state = std::make_unique<Transaction::State>(*connection.link, scope);
    const std::string opening = "BEGIN; " + settings_for(*connection.link, scope, limit);
    state->statement([&] { return state->session.exec(opening); });
    tx = std::unique_ptr<Transaction>(new Transaction(std::move(state)));
    return reused;
  };
  const auto drop = [&] {
    tx.reset();
    connection.link.reset();
  };

  try {
    begin();
  } catch (const ConnectionLost&) {  // it went stale while idle: nothing has begun, so a fresh one may try
    drop();
    try {
      begin();
    } catch (const ConnectionLost& error) {
      drop();
      throw DatabaseUnavailable("The database cannot be reached right now; try again shortly.");
    }
  }

  try {
    work(*tx);
    if (tx->state_->failure) std::rethrow_exception(tx->state_->failure);  // caught by `work`, but COMMIT would roll back
  } catch (const ConnectionLost& error) {
    base::log_warn("the connection to the database broke", {{"error", error.what()}});
    drop();
    throw DatabaseUnavailable("The connection to the database broke; nothing was changed. Try again shortly.");
  } catch (...) {
    try {
      driven(*connection.link, [&] { return tx->state_->session.exec("ROLLBACK"); });
    } catch (const std::exception&) {
      drop();
    }
    throw;
  }
  try {
    tx->state_->statement([&] { return tx->state_->session.exec("COMMIT"); });
  } catch (const ConnectionLost& error) {
    base::log_error("the connection to the database broke during COMMIT", {{"error", error.what()}});
    drop();
    throw CommitOutcomeUnknown();
  }
}

/// A connection that went stale while idle is made again once: a read may be sent twice.
void Pool::attempt_one(Connection& connection, const Scope& scope, std::chrono::milliseconds limit,
                       const std::function<void(Transaction&)>& work) {
  for (bool reused = connection.link != nullptr;; reused = false) {
    if (!connection.link) connection.link = state_->connect();
    auto state = std::make_unique<Transaction::State>(*connection.link, scope);
    state->opening = settings_for(*connection.link, scope, limit);
    auto tx = std::unique_ptr<Transaction>(new Transaction(std::move(state)));
    try {
      work(*tx);
      if (tx->state_->failure) std::rethrow_exception(tx->state_->failure);
      return;
    } catch (const ConnectionLost& error) {
      tx.reset();
      connection.link.reset();
      if (reused) continue;
      base::log_warn("the connection to the database broke", {{"error", error.what()}});
      throw DatabaseUnavailable("The database cannot be reached right now; try again shortly.");
    }
  }
}

bool Pool::answers(std::chrono::milliseconds limit) noexcept {
  try {
    run(Scope::project("none"), limit, [](Transaction& tx) { tx.execute("SELECT 1"); });
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void Pool::with_advisory_lock(std::int64_t key, const std::function<void()>& work) {
  const auto link = state_->connect();
  pqxx::nontransaction session(*link);
  driven(*link, [&] { return session.exec("SELECT pg_advisory_lock(" + std::to_string(key) + ")"); });
  work();  // the lock ends with the session, on every way out
}

}  // namespace finetuned::postgres
