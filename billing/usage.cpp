#include "billing/usage.h"

#include <algorithm>
#include <optional>

#include "base/expects.h"

namespace finetuned::billing {

namespace {

constexpr std::int64_t kMostStepsARow = 10'000;

constexpr char kBooked[] =
    "SELECT coalesce(max(upper(steps)) - 1, 0) AS steps, coalesce(max(tokens_cum), 0) AS tokens,"
    " coalesce(sum(amount), 0)::bigint AS amount FROM usage WHERE job_id = $1 AND metric = 'trained_tokens'";
constexpr char kTerms[] =
    "SELECT j.project_id, coalesce(j.hold_transfer_id, j.liquidity_hold_id) AS hold_transfer_id, coalesce(j.quoted_nano, 0) AS held, p.nano_per_1k,"
    " j.standing_steps, j.standing_tokens"
    " FROM job j JOIN price p ON p.version = j.price_version WHERE j.id = $1";
constexpr char kInsert[] =
    "INSERT INTO usage (job_id, project_id, metric, steps, tokens_cum, amount, step_tokens, lease_epoch, transfer_id)"
    " VALUES ($1, $2, 'trained_tokens', int8range($3::bigint, $4::bigint + 1), $5, $6, $7::bigint[], $8, $9::uuid)";

/// Appends a job's ranges one behind the other.
class Book {
 public:
  Book(postgres::Transaction& tx, const std::string& job_id, std::int64_t lease_epoch)
      : tx_(tx), job_id_(job_id), lease_epoch_(lease_epoch), booked_(booked_usage(tx, job_id)) {
    const auto rows = tx.execute(kTerms, {job_id});
    base::expects(!rows.empty(), "usage is booked for a job that was admitted at a price");
    project_id_ = rows.row(0).text("project_id");
    hold_id_ = rows.row(0).maybe_text("hold_transfer_id");
    held_ = rows.row(0).integer("held");
    nano_per_1k_ = rows.row(0).integer("nano_per_1k");
    if (const auto steps = rows.row(0).maybe_integer("standing_steps")) {
      const std::int64_t tokens = rows.row(0).integer("standing_tokens");
      standing_ = BookedUsage{*steps, tokens, {cost_of(tokens)}};
    }
  }

  const BookedUsage& booked() const { return booked_; }
  const BookedUsage& standing() const { return standing_ ? *standing_ : booked_; }

  /// The steps up to and with `last` are committed, whether or not they were booked before.
  void stand(std::int64_t last, std::int64_t tokens) {
    if (!standing_ || last <= standing_->steps) return;
    tx_.execute("UPDATE job SET standing_steps = $2, standing_tokens = $3 WHERE id = $1", {job_id_, last, tokens});
    standing_ = BookedUsage{last, tokens, {cost_of(tokens)}};
  }

  /// Up to and with the step `last`. `tokens` is at least what is booked: a later attempt never takes tokens back.
  void add(std::int64_t last, std::int64_t tokens, const std::optional<std::string>& step_tokens) {
    const std::int64_t amount = cost_of(tokens) - cost_of(booked_.tokens);
    tx_.execute(kInsert, {job_id_, project_id_, booked_.steps + 1, last, tokens, amount, step_tokens, lease_epoch_, hold_id_});
    booked_ = {last, tokens, {booked_.amount.value + amount}};
  }

 private:
  std::int64_t cost_of(std::int64_t tokens) const { return std::min(base::price_of(tokens, nano_per_1k_).value, held_); }

  postgres::Transaction& tx_;
  const std::string& job_id_;
  std::int64_t lease_epoch_;
  BookedUsage booked_;
  std::optional<BookedUsage> standing_;  ///< of a job that went back
  std::string project_id_;
  std::optional<std::string> hold_id_;
  std::int64_t held_ = 0;
  std::int64_t nano_per_1k_ = 0;
};

}  // namespace

BookedUsage booked_usage(postgres::Transaction& tx, const std::string& job_id) {
  const auto rows = tx.execute(kBooked, {job_id});
  const auto row = rows.row(0);
  return {row.integer("steps"), row.integer("tokens"), {row.integer("amount")}};
}

BookedUsage standing_usage(postgres::Transaction& tx, const std::string& job_id) { return Book(tx, job_id, 0).standing(); }

void book_usage(postgres::Transaction& tx, const std::string& job_id, std::int64_t lease_epoch,
                std::span<const std::int64_t> tokens_after) {
  Book book(tx, job_id, lease_epoch);
  const auto last = static_cast<std::int64_t>(tokens_after.size());
  if (last > 0) book.stand(last, tokens_after.back());
  while (book.booked().steps < last) {
    const std::int64_t first = book.booked().steps + 1, end = std::min(last, first + kMostStepsARow - 1);
    std::int64_t tokens = book.booked().tokens;
    std::string step_tokens = "{";
    for (std::int64_t step = first; step <= end; ++step) {
      tokens = std::max(tokens, tokens_after[static_cast<std::size_t>(step - 1)]);
      step_tokens += (step > first ? "," : "") + std::to_string(tokens);
    }
    book.add(end, tokens, step_tokens + "}");
  }
}

void book_usage_without_steps(postgres::Transaction& tx, const std::string& job_id, std::int64_t lease_epoch,
                              std::int64_t steps, std::int64_t tokens) {
  Book book(tx, job_id, lease_epoch);
  book.stand(steps, tokens);
  if (steps > book.booked().steps) book.add(steps, std::max(tokens, book.booked().tokens), std::nullopt);
}

}  // namespace finetuned::billing
