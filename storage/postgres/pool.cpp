#include "storage/postgres/pool.h"

#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <pqxx/connection>
#include <pqxx/except>
#include <pqxx/nontransaction>
#include <pqxx/prepared_statement>
#include <pqxx/result>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/expects.h"
#include "base/log.h"
#include "storage/postgres/connection_variables.h"

namespace finetuned::postgres {

namespace {

constexpr int kMostAttempts = 5;
constexpr std::size_t kMostPrepared = 256;
constexpr std::size_t kMostAhead = 256 * 1024;  // bytes of statements put off
constexpr char kSerializationFailure[] = "40001";
constexpr char kDeadlock[] = "40P01";
constexpr char kFeatureNotSupported[] = "0A000";  // also: a prepared statement's columns have other types now
constexpr char kQueryCanceled[] = "57014";
constexpr char kTransactionFailed[] = "25P02";

/// The connection is gone; whether that matters depends on which statement was under way.
struct ConnectionLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Whether an SQLSTATE says that the server ended the session or is not up (yet).
bool means_connection_lost(const std::string& sqlstate) {
  return sqlstate.starts_with("08") || sqlstate == "57P01" || sqlstate == "57P02" || sqlstate == "57P03";
}

bool is_retryable(const SqlError& error) {
  return error.sqlstate == kSerializationFailure || error.sqlstate == kDeadlock || error.sqlstate == kFeatureNotSupported;
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
constexpr char kPrepareScope[] =
    "PREPARE scope AS SELECT set_config('statement_timeout', $1, true), set_config('finetuned.scope', $2, true),"
    " set_config('finetuned.project_id', $3, true)";

/// A statement that the session has prepared, as text with its parameters as literals.
std::string execute_text(pqxx::connection_base& link, const std::string& name, const std::vector<Value>& values) {
  std::string text = "EXECUTE " + name;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto& value = values[i].text();
    text += (i == 0 ? "(" : ",") + (value ? link.quote(*value) : std::string("NULL"));
  }
  return values.empty() ? text : text + ")";
}

/// Tells statements apart as execute_once does.
std::string key_of(std::string_view sql, const std::vector<Value>& values) {
  std::string key(sql);
  for (const auto& value : values) key += value.text() ? "=" + std::to_string(value.text()->size()) + ":" + *value.text() : "-";
  return key;
}

std::string scope_text(pqxx::connection_base& link, const Scope& scope, std::chrono::milliseconds limit) {
  return execute_text(link, "scope", {limit.count(), scope.is_system() ? "system" : "project", scope.project_id()});
}

std::chrono::milliseconds pause_before(int attempt) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::chrono::milliseconds(std::uniform_int_distribution<int>(1, 10 << attempt)(random));
}

}  // namespace

/// A session and what it has prepared. Statements are prepared when they are first used: their texts are few, being
/// constants beside their callers, and the server need not parse and plan them each time.
struct Link {
  explicit Link(const std::string& url) : session(url) {}

  /// The prepared statement's name; null for one more than a session keeps.
  const std::string* prepared(std::string_view sql) {
    auto found = names.find(sql);
    if (found == names.end()) {
      if (names.size() >= kMostPrepared) return nullptr;
      const std::string name = "s" + std::to_string(names.size());
      session.prepare(name, std::string(sql));
      found = names.emplace(sql, name).first;
    }
    session.prepare_now(found->second);
    return &found->second;
  }

  pqxx::connection session;
  std::map<std::string, std::string, std::less<>> names;  ///< by their text
};

struct Pool::Connection {
  std::unique_ptr<Link> link;  ///< null until first needed, and after it broke
};

struct Pool::State {
  PoolOptions options;
  std::string full_url;
  std::mutex mutex;
  std::condition_variable freed;
  std::vector<std::unique_ptr<Connection>> idle;

  std::unique_ptr<Link> connect() const {
    try {
      auto link = std::make_unique<Link>(full_url);
      pqxx::nontransaction setup(link->session);
      setup.exec(std::string("SET client_min_messages = error; SET idle_in_transaction_session_timeout = '120s'; ") + kPrepareScope);
      return link;
    } catch (const pqxx::failure& error) {
      base::log_warn("the database cannot be reached", {{"error", error.what()}});
      throw DatabaseUnavailable("The database cannot be reached right now; try again shortly.");
    }
  }
};

struct Transaction::State {
  State(Link& whose, Scope whom) : link(whose), session(whose.session), scope(std::move(whom)) {}
  Link& link;
  pqxx::nontransaction session;  ///< BEGIN and COMMIT are ours, so that an error in COMMIT is told apart
  Scope scope;
  std::exception_ptr failure;  ///< of the statement that ended the transaction
  std::string ahead;           ///< goes before the next statement, in the same message: BEGIN, the scope, what was put off
  bool one_statement = false;  ///< read_one's
  bool written = false;        ///< something was put off
  bool begun = false;          ///< something has been sent
  bool answered = false;       ///< and something came back
  std::unordered_map<std::string, Result> once;  ///< what execute_once has asked, by key_of

  /// Sends what waits, and `text` behind it, as one message: the result of the last statement.
  pqxx::result send(const std::string& text) {
    begun = true;
    pqxx::result result = session.exec(std::exchange(ahead, {}) + text);
    answered = true;
    return result;
  }

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
  const pqxx::result answer = state_->statement([&] {
    pqxx::connection_base& session = state_->session.conn();
    base::expects(!state_->one_statement || !state_->begun, "read_one sends one statement");
    if (const std::string* name = state_->link.prepared(sql)) return state_->send(execute_text(session, *name, values));
    base::expects(!state_->one_statement, "a session has room for what is read in one round trip");
    if (!state_->ahead.empty()) state_->send("");
    std::vector<const char*> texts;
    for (const Value& value : values) texts.push_back(value.text() ? value.text()->c_str() : nullptr);
    return state_->session.exec_params(std::string(sql), pqxx::prepare::make_dynamic_params(texts.begin(), texts.end()));
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

void Transaction::execute_later(std::string_view sql, std::initializer_list<Value> values) {
  base::expects(!state_->one_statement, "read_one reads");
  const std::string* name = state_->statement([&] { return state_->link.prepared(sql); });
  if (!name || state_->ahead.size() >= kMostAhead)
    execute(sql, values);
  else
    state_->ahead += state_->statement([&] { return execute_text(state_->session.conn(), *name, values); }) + ";";
  state_->written = true;
}

Result Transaction::execute_once(std::string_view sql, const std::vector<Value>& values) {
  if (!remembers(sql, values)) state_->once.emplace(key_of(sql, values), execute(sql, values));
  return state_->once.at(key_of(sql, values));
}

bool Transaction::remembers(std::string_view sql, const std::vector<Value>& values) const {
  return state_->once.contains(key_of(sql, values));
}

void Transaction::nested(const std::function<void()>& work) {
  state_->ahead += "SAVEPOINT nested;";
  try {
    work();
  } catch (...) {
    if (!state_->failure) state_->ahead += "ROLLBACK TO nested;RELEASE nested;";  // with what was put off
    state_->once.clear();                                                        // the locks have ended
    throw;
  }
  state_->ahead += "RELEASE nested;";
}

void Transaction::execute_script(std::string_view sql) {
  state_->statement([&] { return state_->send(std::string(sql)); });
}

Pool::Pool(PoolOptions options) : state_(std::make_unique<State>()) {
  base::expects(options.connections >= 1, "a pool of at least one connection");
  state_->full_url = with_session_options(options.url, options.application_name);
  state_->options = std::move(options);
  for (std::size_t i = 0; i < state_->options.connections; ++i)
    state_->idle.push_back(std::make_unique<Connection>());
}

Pool::~Pool() {
  base::expects(state_->idle.size() == state_->options.connections, "no transaction outlives its pool");
}

void Pool::run(const Scope& scope, std::optional<std::chrono::milliseconds> limit,
               const std::function<void(Transaction&)>& work, const Opening& opening) {
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
      attempt(*connection, scope, longest, work, opening);
      return;
    } catch (const SqlError& error) {
      if (error.sqlstate == kQueryCanceled)
        throw DatabaseUnavailable("The database took longer than this request may; try again shortly.");
      if (!is_retryable(error) || tried == kMostAttempts) throw;
      if (error.sqlstate == kFeatureNotSupported) connection->link.reset();
      std::this_thread::sleep_for(pause_before(tried));
    }
  }
}

std::string Pool::text_of(const Opening& opening) {
  switch (opening.kind) {
    case Kind::kWhole: return "BEGIN;";
    case Kind::kSnapshot:
      return "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;" +
             (opening.exported.empty() ? "" : "SET TRANSACTION SNAPSHOT '" + opening.exported + "';");
    case Kind::kOneStatement: return "";
  }
  return "";
}

/// Sends nothing. The session notices here already where it has gone stale.
std::unique_ptr<Transaction> Pool::begin(Connection& connection, const Scope& scope, std::chrono::milliseconds limit,
                                         const Opening& opening) {
  return driven(connection.link->session, [&] {
    auto state = std::make_unique<Transaction::State>(*connection.link, scope);
    state->one_statement = opening.kind == Kind::kOneStatement;
    state->ahead = text_of(opening) + scope_text(connection.link->session, scope, limit) + ";";
    return std::unique_ptr<Transaction>(new Transaction(std::move(state)));
  });
}

/// A connection that went stale while idle is made again once: what was sent first, and not answered, may be sent again.
void Pool::attempt(Connection& connection, const Scope& scope, std::chrono::milliseconds limit,
                   const std::function<void(Transaction&)>& work, const Opening& opening) {
  if (opening.kind == Kind::kOneStatement && connection.link && connection.link->names.size() >= kMostPrepared)
    connection.link.reset();  // it has no room for what is read in one round trip
  for (bool reused = connection.link != nullptr;; reused = false) {
    if (!connection.link) connection.link = state_->connect();
    std::unique_ptr<Transaction> tx;
    try {
      tx = begin(connection, scope, limit, opening);
      work(*tx);
      if (tx->state_->failure) std::rethrow_exception(tx->state_->failure);  // caught by `work`, but COMMIT would roll back
    } catch (const ConnectionLost& error) {
      const bool again = reused && (!tx || !tx->state_->answered);
      tx.reset();
      connection.link.reset();
      if (again) continue;
      base::log_warn("the connection to the database broke", {{"error", error.what()}});
      throw DatabaseUnavailable("The connection to the database broke; nothing was changed. Try again shortly.");
    } catch (...) {
      if (tx) roll_back(connection, *tx);
      throw;
    }
    if (opening.kind != Kind::kOneStatement) commit(connection, *tx);
    return;
  }
}

void Pool::roll_back(Connection& connection, Transaction& tx) {
  if (tx.state_->one_statement || !tx.state_->begun) return;
  try {
    driven(connection.link->session, [&] { return tx.state_->session.exec("ROLLBACK"); });
  } catch (const std::exception&) {
    tx.state_.reset();
    connection.link.reset();
  }
}

/// With what was put off until now. A transaction that sent nothing has nothing to commit.
void Pool::commit(Connection& connection, Transaction& tx) {
  if (!tx.state_->begun && !tx.state_->written) return;
  try {
    tx.state_->statement([&] { return tx.state_->send("COMMIT"); });
  } catch (const ConnectionLost& error) {
    base::log_error("the connection to the database broke during COMMIT", {{"error", error.what()}});
    tx.state_.reset();
    connection.link.reset();
    throw CommitOutcomeUnknown();
  } catch (...) {
    roll_back(connection, tx);
    throw;
  }
}

bool Pool::answers(std::chrono::milliseconds limit) noexcept {
  try {
    run(Scope::project("none"), limit, [](Transaction& tx) { tx.execute("SELECT 1"); }, {});
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void Pool::with_advisory_lock(std::int64_t key, const std::function<void()>& work) {
  const auto link = state_->connect();
  pqxx::nontransaction session(link->session);
  driven(link->session, [&] { return session.exec("SELECT pg_advisory_lock(" + std::to_string(key) + ")"); });
  work();  // the lock ends with the session, on every way out
}

}  // namespace finetuned::postgres
