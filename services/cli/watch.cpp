#include "services/cli/watch.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <thread>
#include <vector>

#include "base/errors.h"
#include "services/cli/progress.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;
using std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kPollEvery{500};
constexpr std::chrono::seconds kAbsenceLimit{60};
constexpr int kEventsAPage = 100;
constexpr int kMaxPages = 100;  // what an ever-growing list may cost one look

volatile std::sig_atomic_t interrupted = 0;

/// Notes Ctrl-C while it lives, and lets it end a sleep or a transfer.
class InterruptWatch {
 public:
  InterruptWatch() {
    interrupted = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptWatch() { sigaction(SIGINT, &before_, nullptr); }
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

 private:
  struct sigaction before_ {};
};

[[noreturn]] void leave_running(const std::string& job_id) {
  std::fprintf(
      stderr,
      "\n%s goes on without this window. Watch it again: finetuned jobs watch %s; stop it: finetuned jobs "
      "cancel %s\n",
      job_id.c_str(), job_id.c_str(), job_id.c_str());
  std::signal(SIGINT, SIG_DFL);
  std::raise(SIGINT);  // so that a calling script sees an interrupt and stops, too
  std::_Exit(130);
}

/// The events after the last one seen, oldest first. The API lists the newest first.
class EventTail {
 public:
  EventTail(ApiClient& api, std::string job_path) : api_(api), path_(std::move(job_path)) {}

  std::vector<json::value> fresh() {
    std::vector<json::value> newest_first;
    std::string after;
    for (int page = 0; page < kMaxPages; ++page) {
      const json::value list = api_.get(page_of_events(after));
      for (const json::value& event : list.at("data").as_array()) {
        if (text_of(event, "id") == last_seen_) return in_order(std::move(newest_first));
        newest_first.push_back(event);
      }
      const json::value* more = list.as_object().if_contains("has_more");
      if (newest_first.empty() || !more || !more->is_bool() || !more->get_bool()) break;
      after = text_of(newest_first.back(), "id");
    }
    return in_order(std::move(newest_first));
  }

 private:
  std::string page_of_events(const std::string& after) const {
    std::string page = path_ + "/events?limit=" + std::to_string(kEventsAPage);
    if (!after.empty()) page += "&after=" + ApiClient::escape(after);
    return page;
  }

  std::vector<json::value> in_order(std::vector<json::value> newest_first) {
    if (!newest_first.empty()) last_seen_ = text_of(newest_first.front(), "id");
    std::reverse(newest_first.begin(), newest_first.end());
    return newest_first;
  }

  ApiClient& api_;
  const std::string path_;
  std::string last_seen_;
};

/// How long the rest takes, from the steps seen pass since the watch began.
class Pace {
 public:
  double seconds_left(std::int64_t step, std::int64_t total) {
    const auto now = steady_clock::now();
    if (!first_step_ || step < *first_step_) {
      first_step_ = step;
      since_ = now;
    }
    if (step <= *first_step_ || total < step) return -1;
    const double seconds = std::chrono::duration<double>(now - since_).count();
    return seconds / static_cast<double>(step - *first_step_) * static_cast<double>(total - step);
  }

 private:
  std::optional<std::int64_t> first_step_;
  steady_clock::time_point since_;
};

class Watch {
 public:
  Watch(ApiClient& api, const std::string& job_id)
      : api_(api),
        job_id_(job_id),
        path_("/fine_tuning/jobs/" + ApiClient::escape(job_id)),
        tail_(api, path_) {}

  json::value run() {
    const InterruptWatch interrupts;
    auto heard = steady_clock::now();
    for (;;) {
      if (interrupted) leave_running(job_id_);
      try {
        json::value job = api_.get(path_);
        show(job);  // after the job, so that an ended job's last events are among them
        if (has_ended(job)) {
          line_.end(closing(job));
          return job;
        }
        heard = steady_clock::now();
      } catch (const ConnectionError& error) {
        wait_or_rethrow(heard, error.what());
      } catch (const base::ApiError& error) {
        if (error.status != 503) throw;
        wait_or_rethrow(heard, error.what());
      }
      if (!interrupted) std::this_thread::sleep_for(kPollEvery);
    }
  }

 private:
  /// Called from a handler: passes its exception on when the platform has been away too long.
  void wait_or_rethrow(steady_clock::time_point heard, const std::string& why) {
    if (steady_clock::now() - heard > kAbsenceLimit) throw;
    if (!interrupted) line_.show("waiting for the platform: " + why);
  }

  void show(const json::value& job) {
    for (const json::value& event : tail_.fresh()) {
      if (text_of(event, "type") == "metrics") {
        metrics_ = event.as_object().at("data");
      } else {
        line_.note(format_time(integer_of(event, "created_at")).substr(11) + "  " +
                   printable(text_of(event, "message")));
      }
    }
    if (metrics_.is_object() && text_of(job, "status") == "running") {
      const std::int64_t step = integer_of(metrics_, "step"), total = integer_of(metrics_, "total_steps");
      line_.show(bar(step, total) + describe_step(metrics_, pace_.seconds_left(step, total)));
    } else if (!has_ended(job)) {
      line_.show(job_id_ + " is " + printable(text_of(job, "status")));
    }
  }

  std::string bar(std::int64_t step, std::int64_t total) const {
    if (total <= 0) return "";
    return render_bar(static_cast<double>(step) / static_cast<double>(total), line_.width() > 90 ? 30 : 12) +
           " ";
  }

  std::string closing(const json::value& job) const {
    if (!metrics_.is_object()) return job_id_ + " " + text_of(job, "status");
    const std::int64_t step = integer_of(metrics_, "step");
    return bar(step, integer_of(metrics_, "total_steps")) + describe_step(metrics_, -1) + "  " +
           text_of(job, "status");
  }

  ApiClient& api_;
  const std::string job_id_;
  const std::string path_;
  EventTail tail_;
  Pace pace_;
  ProgressLine line_;
  json::value metrics_;
};

}  // namespace

bool has_ended(const json::value& job) {
  const std::string status = text_of(job, "status");
  return status == "succeeded" || status == "failed" || status == "cancelled";
}

std::string describe_step(const json::value& metrics, double seconds_left) {
  std::string text = "step " + cell(metrics, "step");
  if (integer_of(metrics, "total_steps") > 0) text += "/" + cell(metrics, "total_steps");
  char figures[80];
  std::snprintf(figures, sizeof figures, "  loss %.4f", number_of(metrics, "train_loss"));
  text += figures;
  text +=
      "  " + format_count(static_cast<std::int64_t>(number_of(metrics, "tokens_per_second"))) + " tokens/s";
  if (seconds_left >= 0) text += "  " + format_seconds(seconds_left) + " left";
  return text;
}

json::value watch_job(ApiClient& api, const std::string& job_id) {
  return Watch(api, job_id).run();
}

}  // namespace finetuned::cli
