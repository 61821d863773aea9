// How many jobs a second workers claim from a long queue: tests/with_services build/release/tests/bench/bench_claims
//
// Makes a database of its own with 10,000 queued jobs of 50 projects,
// one of which has 1,000, and lets 1 and then 4 workers claim 1,000 of them each time. Prints claims/s, and how long a
// claim took in the middle and at the worst hundredth.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>

#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace {

using namespace finetuned;
using postgres::Scope;
using postgres::Transaction;
using Clock = std::chrono::steady_clock;

constexpr int kProjects = 50, kJobs = 10'000, kOfTheFirst = 1'000, kClaims = 1'000;

void fill_queue(postgres::Pool& pool) {
  const storage::BaseModel model = tests::make_base_model(pool);
  for (int p = 0; p < kProjects; ++p) {
    const storage::Project project = tests::make_project(pool);
    const storage::File file = tests::make_file(pool, project);
    const int jobs = p == 0 ? kOfTheFirst : (kJobs - kOfTheFirst) / (kProjects - 1) + (p <= (kJobs - kOfTheFirst) % (kProjects - 1));
    pool.transact(Scope::project(project.id), [&](Transaction& tx) {
      storage::JobStore store(tx);
      for (int i = 0; i < jobs; ++i) {
        const storage::NewJob job = tests::new_job(project, model, file);
        store.insert(job);
        store.admit(job.id, {1, 1'000 + i, 0, std::nullopt});
      }
    });
  }
  pool.transact(Scope::system(), [](Transaction& tx) { tx.execute("ANALYZE job"); });
}

void measure(int workers) {
  const auto own = tests::make_pool(static_cast<std::size_t>(workers));
  std::mutex mutex;
  std::vector<double> milliseconds;
  const auto began = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (int w = 0; w < workers; ++w)
      threads.emplace_back([&, w] {
        std::vector<double> mine;
        for (int i = 0; i < kClaims / workers; ++i) {
          const auto asked = Clock::now();
          const bool got = own->transact(Scope::system(), [&](Transaction& tx) {
            return storage::JobLeases(tx).claim("worker-" + std::to_string(w), 3'600).has_value();
          });
          if (!got) break;
          mine.push_back(std::chrono::duration<double, std::milli>(Clock::now() - asked).count());
        }
        const std::lock_guard lock(mutex);
        milliseconds.insert(milliseconds.end(), mine.begin(), mine.end());
      });
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  std::sort(milliseconds.begin(), milliseconds.end());
  const std::size_t claims = milliseconds.size();
  std::printf("%d workers: %zu claims, %.0f claims/s, %.2f ms in the middle, %.2f ms at the worst hundredth\n", workers, claims,
              static_cast<double>(claims) / seconds, milliseconds[claims / 2], milliseconds[claims * 99 / 100]);
}

}  // namespace

int main() {
  fill_queue(tests::pool());
  for (const int workers : {1, 4}) measure(workers);
}
