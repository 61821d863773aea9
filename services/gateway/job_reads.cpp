#include "services/gateway/job_reads.h"

#include <boost/asio/post.hpp>
#include <boost/json/serialize.hpp>
#include <algorithm>
#include <chrono>
#include <exception>
#include <iterator>
#include <optional>
#include <string_view>

#include "base/ids.h"
#include "services/gateway/forecasts.h"
#include "services/gateway/shapes.h"
#include "services/gateway/socket_threads.h"
#include "storage/job_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostTogether = 256;
constexpr std::chrono::microseconds kPatience{1000};

/// The first items of a list, which loses them.
template <class Item>
std::vector<Item> take_first(std::vector<Item>& items, std::size_t most) {
  const auto end = items.begin() + static_cast<std::ptrdiff_t>(std::min(items.size(), most));
  std::vector<Item> taken(std::make_move_iterator(items.begin()), std::make_move_iterator(end));
  items.erase(items.begin(), end);
  return taken;
}

template <class Asked>
std::vector<std::string> ids_of(const std::vector<Asked>& asked) {
  std::vector<std::string> ids;
  for (const auto& one : asked) ids.push_back(one.id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace

/// What the clients of one thread for sockets wait for; that thread's alone.
struct JobReads::Desk {
  Desk(boost::asio::io_context& thread, base::BlockingPool& pool, const std::string& database_url)
      : io(thread), versions(thread, pool, database_url, "finetuned gateway reads", storage::JobStore::kVersions) {}

  boost::asio::io_context& io;
  postgres::AsyncReader versions;
  std::unordered_map<std::string, std::vector<Asked>> waiting;  ///< by project; each is in `turns` once
  std::deque<std::string> turns;
  bool will_ask = false;
};

JobReads::JobReads(postgres::Pool& database, const std::string& database_url, Forecasts& forecasts, base::BlockingPool& pool,
                   SocketThreads& threads)
    : database_(database),
      forecasts_(forecasts),
      threads_(threads),
      batches_(
          pool, {.most = kMostTogether, .patience = kPatience},
          [this](const std::string& project, const std::vector<Asked>& asked) { read_together(project, asked); },
          [](const std::vector<Asked>& asked) {
            const auto overloaded = std::make_exception_ptr(base::Overloaded());
            for (const Asked& one : asked) one.answered(std::nullopt, overloaded);
          }) {
  for (std::size_t i = 0; i < threads.size(); ++i)
    desks_.push_back(std::make_unique<Desk>(threads.context(i), pool, database_url));
}

JobReads::~JobReads() = default;

void JobReads::read(const std::string& project, const std::string& id, Answered answered) {
  if (!base::is_id(id, "ftjob")) throw no_such_job(id);
  Desk& desk = *desks_.at(threads_.here());
  std::vector<Asked>& waiting = desk.waiting[project];
  if (waiting.empty()) desk.turns.push_back(project);
  waiting.push_back({id, std::move(answered)});
  if (desk.will_ask || desk.versions.busy()) return;
  desk.will_ask = true;  // behind the other requests that have come by now
  boost::asio::post(desk.io, [this, &desk] {
    desk.will_ask = false;
    ask(desk);
  });
}

/// Asks for the versions of what waits, a project each time. Where there is no asking, the pool reads.
void JobReads::ask(Desk& desk) {
  while (!desk.turns.empty() && !desk.versions.busy()) {
    const std::string project = std::move(desk.turns.front());
    desk.turns.pop_front();
    const auto waiting = desk.waiting.find(project);
    auto asked = std::make_shared<std::vector<Asked>>(take_first(waiting->second, kMostTogether));
    if (waiting->second.empty())
      desk.waiting.erase(waiting);
    else
      desk.turns.push_back(project);
    auto done = [this, &desk, project, asked](const postgres::AsyncReader::Rows* versions) {
      ask(desk);  // the database works on the next ones while these are answered
      answer(project, *asked, versions ? *versions : postgres::AsyncReader::Rows());
    };
    const postgres::Value ids = postgres::Value::texts(ids_of(*asked));
    if (!desk.versions.begin(postgres::Scope::project(project), {ids}, std::move(done))) answer(project, *asked, {});
  }
}

/// Answers what is known of these versions; the pool reads the others.
void JobReads::answer(const std::string& project, const std::vector<Asked>& asked, const postgres::AsyncReader::Rows& versions) {
  std::unordered_map<std::string_view, std::shared_ptr<const std::string>> known;
  const auto now = Forecasts::Clock::now();
  for (const auto& row : versions)
    if (auto text = bodies_.find(row.at(0), row.at(1), now)) known.emplace(row.at(0), std::move(text));
  for (const Asked& one : asked) {
    const auto found = known.find(one.id);
    if (found == known.end())
      batches_.add(project, one);
    else
      one.answered(json_text_response(found->second), nullptr);
  }
}

void JobReads::read_together(const std::string& project, const std::vector<Asked>& asked) {
  std::unordered_map<std::string, std::shared_ptr<const std::string>> bodies;
  try {
    const auto jobs = database_.read_one(postgres::Scope::project(project), [&](postgres::Transaction& tx) {
      return storage::JobStore(tx).find_versioned(ids_of(asked));
    });
    for (const auto& [job, version] : jobs) {
      base::json::object shape = job_shape(job);
      const auto until = add_queue(shape, job, database_, forecasts_);
      const auto text = std::make_shared<const std::string>(base::json::serialize(shape));
      bodies_.keep(job.id, {version, until, text});
      bodies.emplace(job.id, text);
    }
  } catch (...) {
    for (const Asked& one : asked) one.answered(std::nullopt, std::current_exception());
    return;
  }
  for (const Asked& one : asked) {
    const auto found = bodies.find(one.id);
    if (found == bodies.end())
      one.answered(std::nullopt, std::make_exception_ptr(no_such_job(one.id)));
    else
      one.answered(json_text_response(found->second), nullptr);
  }
}

}  // namespace finetuned::gateway
