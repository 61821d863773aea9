#include "storage/postgres/async_reader.h"

#include <libpq-fe.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "base/expects.h"
#include "base/log.h"
#include "base/offload.h"
#include "storage/postgres/connection_variables.h"

namespace finetuned::postgres {

namespace {

using Steady = std::chrono::steady_clock;
using boost::system::error_code;

/// The scope's settings stay with the session until a reading has another scope: they travel before it, in its message.
constexpr char kPrepareScope[] =
    "SET client_min_messages = error; SET statement_timeout = '1s';"
    "PREPARE scope AS SELECT set_config('finetuned.scope', $1, false), set_config('finetuned.project_id', $2, false);"
    "PREPARE reading AS ";

std::string literal(pg_conn* session, const std::string& text) {
  const std::unique_ptr<char, decltype(&PQfreemem)> quoted(PQescapeLiteral(session, text.data(), text.size()), &PQfreemem);
  base::expects(quoted != nullptr, "a statement's values are text in UTF-8");
  return quoted.get();
}

}  // namespace

AsyncReader::AsyncReader(boost::asio::io_context& io, base::BlockingPool& pool, const std::string& url,
                         const std::string& application_name, std::string sql)
    : io_(io), pool_(pool), url_(with_session_options(url, application_name)), sql_(std::move(sql)), socket_(io), deadline_(io) {}

AsyncReader::~AsyncReader() {
  if (socket_.is_open()) socket_.release();
}

/// Null where there is no getting one.
AsyncReader::Session AsyncReader::open_session() const {
  const Session session(PQconnectdb(url_.c_str()), &PQfinish);
  if (PQstatus(session.get()) != CONNECTION_OK) return nullptr;
  const std::unique_ptr<PGresult, decltype(&PQclear)> ready(PQexec(session.get(), (kPrepareScope + sql_).c_str()), &PQclear);
  if (PQresultStatus(ready.get()) == PGRES_COMMAND_OK && PQsetnonblocking(session.get(), 1) == 0) return session;
  base::log_warn("a session for reading could not be prepared", {{"error", PQerrorMessage(session.get())}});
  return nullptr;
}

void AsyncReader::connect() {
  if (connecting_ || Steady::now() < next_try_) return;
  connecting_ = pool_.try_submit([this] {
    auto adopt = [this, session = open_session()] {
      connecting_ = false;
      next_try_ = Steady::now() + kPatience;
      if (!session) return;
      session_ = session;
      scope_.clear();
      socket_.assign(PQsocket(session_.get()));
    };
    boost::asio::post(io_, std::move(adopt));
  });
}

bool AsyncReader::begin(const Scope& scope, const std::vector<Value>& values, Done done) {
  if (done_) return false;
  if (!session_) connect();
  if (!session_) return false;
  // It has answered all before, so its socket takes a few kilobytes at once, if it takes any.
  const std::string text = enter(scope) + text_of(values);
  if (PQsendQuery(session_.get(), text.c_str()) != 1 || PQflush(session_.get()) != 0) {
    lose();
    return false;
  }
  done_ = std::move(done);
  begun_ = Steady::now();
  rows_.clear();
  failed_ = false;
  watch();
  listen();
  return true;
}

/// What the session has to be told before it reads in this scope. A session that failed to take it in is given up.
std::string AsyncReader::enter(const Scope& scope) {
  std::string wanted = std::string("EXECUTE scope(") + (scope.is_system() ? "'system'," : "'project',") +
                       literal(session_.get(), scope.project_id()) + ");";
  if (wanted == scope_) return {};
  scope_ = wanted;
  return wanted;
}

std::string AsyncReader::text_of(const std::vector<Value>& values) const {
  std::string text = "EXECUTE reading";
  for (std::size_t i = 0; i < values.size(); ++i)
    text += (i == 0 ? "(" : ",") + (values[i].text() ? literal(session_.get(), *values[i].text()) : std::string("NULL"));
  return values.empty() ? text : text + ")";
}

void AsyncReader::listen() {
  socket_.async_wait(socket_.wait_read, [this](error_code ec) {
    if (!ec) receive();  // else it was given up
  });
}

void AsyncReader::receive() {
  if (PQconsumeInput(session_.get()) != 1) return lose();
  while (PQisBusy(session_.get()) == 0) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(session_.get()), &PQclear);
    if (!result) return failed_ ? lose() : end(true);
    take(*result);
  }
  listen();
}

/// Of the statements' results the last one stays.
void AsyncReader::take(const PGresult& result) {
  rows_.clear();
  if (PQresultStatus(&result) != PGRES_TUPLES_OK) failed_ = true;
  for (int row = 0; row < PQntuples(&result); ++row) {
    auto& cells = rows_.emplace_back();
    for (int column = 0; column < PQnfields(&result); ++column)
      cells.emplace_back(PQgetvalue(&result, row, column), static_cast<std::size_t>(PQgetlength(&result, row, column)));
  }
}

/// One timer serves the readings of a second, and looks at the one that is under way when it fires.
void AsyncReader::watch() {
  if (std::exchange(watching_, true)) return;
  deadline_.expires_at(begun_ + kPatience);
  deadline_.async_wait([this](error_code ec) {
    watching_ = false;
    if (ec || !done_) return;
    if (Steady::now() - begun_ < kPatience) return watch();
    lose();
  });
}

void AsyncReader::end(bool answered) {
  const Done done = std::exchange(done_, nullptr);
  const Rows rows = std::exchange(rows_, {});
  if (done) done(answered ? &rows : nullptr);
}

/// Whatever is wrong with it, a new session does not have it, or the Pool says what it is.
void AsyncReader::lose() {
  if (socket_.is_open()) socket_.release();
  session_.reset();
  end(false);
}

}  // namespace finetuned::postgres
