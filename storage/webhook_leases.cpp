#include "storage/webhook_leases.h"

namespace finetuned::storage {

namespace {

#define TOO_OLD "created_at + make_interval(hours => "
// $1 lease seconds, $2 and $3 the most in flight of an endpoint and of a project, $4 the hours until giving up
constexpr char kClaim[] =
    "UPDATE webhook_delivery SET lease_epoch = webhook_delivery.lease_epoch + 1, attempts = attempts + 1,"
    " lease_until = clock_timestamp() + make_interval(secs => $1::double precision)"
    " FROM webhook_endpoint e WHERE e.id = endpoint_id AND webhook_delivery.id = ("
    "  SELECT d.id FROM webhook_delivery d JOIN webhook_endpoint o ON o.id = d.endpoint_id"
    "  WHERE d.state = 'pending' AND d.next_attempt_at <= clock_timestamp() AND o.enabled"
    "   AND (d.lease_until IS NULL OR d.lease_until <= clock_timestamp())"
    "   AND d." TOO_OLD "$4::int) > clock_timestamp()"
    "   AND d.endpoint_id NOT IN (SELECT endpoint_id FROM webhook_delivery WHERE lease_until > clock_timestamp()"
    "    GROUP BY endpoint_id HAVING count(*) >= $2)"
    "   AND d.project_id NOT IN (SELECT project_id FROM webhook_delivery WHERE lease_until > clock_timestamp()"
    "    GROUP BY project_id HAVING count(*) >= $3)"
    "  ORDER BY d.next_attempt_at, d.seq LIMIT 1 FOR UPDATE OF d SKIP LOCKED)"
    " RETURNING webhook_delivery.id, webhook_delivery.lease_epoch, endpoint_id, event_id, coalesce(body::jsonb #>> '{data,id}', '') AS about, body, e.url, e.sealed_secret,"
    "  attempts, extract(epoch FROM clock_timestamp())::bigint AS now";
// $1 id, $2 epoch, $3 the state where it is settled, $4 status, $5 error, $6 answer, $7 seconds, $8 hours
constexpr char kRecord[] =
    "WITH decided AS (SELECT id, CASE WHEN $3::text IS NOT NULL THEN $3::text"
    "  WHEN clock_timestamp() + make_interval(secs => $7::double precision) >= " TOO_OLD "$8::int) THEN 'given_up'"
    "  ELSE 'pending' END AS state FROM webhook_delivery WHERE id = $1 AND lease_epoch = $2 AND state = 'pending'"
    "  AND lease_until > clock_timestamp() FOR UPDATE)"
    " UPDATE webhook_delivery d SET state = decided.state, lease_until = NULL, last_status = $4, last_error = $5,"
    " last_answer = $6, delivered_at = CASE WHEN decided.state = 'delivered' THEN clock_timestamp() END,"
    " next_attempt_at = CASE WHEN decided.state = 'pending'"
    "  THEN clock_timestamp() + make_interval(secs => $7::double precision) END"
    " FROM decided WHERE d.id = decided.id";
constexpr char kDisable[] =
    "UPDATE webhook_endpoint SET enabled = false, disabled_reason = 'it answered 410 Gone'"
    " WHERE id = $1 AND url = $2 AND enabled";
constexpr char kGiveUp[] =
    "UPDATE webhook_delivery SET state = 'given_up', next_attempt_at = NULL, lease_until = NULL,"
    " last_error = coalesce(last_error, 'it was not tried: the endpoint was disabled, or nothing was delivering')"
    " WHERE id IN (SELECT id FROM webhook_delivery WHERE state = 'pending'"
    "  AND (lease_until IS NULL OR lease_until <= clock_timestamp())"
    "  AND " TOO_OLD "$2::int) <= clock_timestamp() ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED)";
constexpr char kForget[] =
    "DELETE FROM webhook_delivery WHERE id IN (SELECT id FROM webhook_delivery WHERE state <> 'pending'"
    " AND created_at <= clock_timestamp() - make_interval(days => $2::int) ORDER BY created_at LIMIT $1"
    " FOR UPDATE SKIP LOCKED)";
#undef TOO_OLD

}  // namespace

std::optional<ClaimedDelivery> WebhookLeases::claim(const WebhookLimits& limits) {
  const auto rows = tx_.execute(kClaim, {limits.lease_seconds, limits.in_flight_per_endpoint,
                                         limits.in_flight_per_project, kGiveUpHours});
  if (rows.empty()) return std::nullopt;
  const auto row = rows.row(0);
  return ClaimedDelivery{.id = row.text("id"),
                         .epoch = row.integer("lease_epoch"),
                         .endpoint_id = row.text("endpoint_id"),
                         .event_id = row.text("event_id"),
                         .about = row.text("about"),
                         .body = row.text("body"),
                         .url = row.text("url"),
                         .sealed_secret = row.bytes("sealed_secret"),
                         .attempts = row.integer("attempts"),
                         .now = row.integer("now")};
}

bool WebhookLeases::record(const ClaimedDelivery& delivery, const DeliveryOutcome& outcome) {
  std::optional<std::string> settled;
  if (outcome.delivered) settled = "delivered";
  if (outcome.gone) settled = "given_up";
  const bool written = tx_.execute(kRecord, {delivery.id, delivery.epoch, settled, outcome.status, outcome.error,
                                             outcome.answer, outcome.retry_after_seconds, kGiveUpHours})
                           .affected_rows() == 1;
  if (written && outcome.gone) tx_.execute(kDisable, {delivery.endpoint_id, delivery.url});
  return written;
}

std::size_t WebhookLeases::give_up(int most) { return tx_.execute(kGiveUp, {most, kGiveUpHours}).affected_rows(); }

std::size_t WebhookLeases::forget(int most) { return tx_.execute(kForget, {most, kKeepDays}).affected_rows(); }

}  // namespace finetuned::storage
