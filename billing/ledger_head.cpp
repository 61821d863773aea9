#include "billing/ledger_head.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "base/files.h"
#include "base/hex.h"
#include "base/json.h"

namespace finetuned::billing {

namespace fs = std::filesystem;
namespace json = base::json;

namespace {

constexpr std::uint64_t kMostFileBytes = 256 << 20;  // two thousand years of daily heads
constexpr std::int64_t kHeadsLock = 0x66740011;
constexpr const char* kKept = "heads.jsonl";
constexpr const char* kLatest = "latest.jsonl";

constexpr char kEnds[] =
    "SELECT DISTINCT ON (s.ledger) s.ledger, s.position, s.hash, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now,"
    " h.position AS kept, h.made_at >= date_trunc('day', clock_timestamp(), 'UTC') AS today"
    " FROM unnest(ARRAY['USD_NANO', 'POINTS_MICRO']) AS l (ledger)"
    " CROSS JOIN LATERAL (SELECT * FROM ledger_seal WHERE ledger = l.ledger ORDER BY position DESC LIMIT 1) s"
    " LEFT JOIN LATERAL (SELECT * FROM ledger_head WHERE ledger = l.ledger ORDER BY position DESC LIMIT 1) h ON true"
    " ORDER BY s.ledger";
constexpr char kKeep[] =
    "INSERT INTO ledger_head (ledger, position, hash, made_at, public_key, signature) VALUES ($1, $2, $3::bytea,"
    " timestamptz 'epoch' + $4::bigint * interval '1 microsecond', $5::bytea, $6::bytea)";
constexpr char kRead[] =
    "SELECT ledger, position, hash, (extract(epoch FROM made_at) * 1000000)::bigint AS made_at_micros, public_key, signature"
    " FROM ledger_head ORDER BY ledger, position";

void put_integer(std::string& into, std::int64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8)
    into += static_cast<char>(static_cast<std::uint64_t>(value) >> shift & 0xff);
}

LedgerHead signed_end(const postgres::Row& row, const base::SigningKey& key) {
  LedgerHead head{.ledger = ledger_named(row.text("ledger")),
                  .position = row.integer("position"),
                  .hash = row.bytes("hash"),
                  .made_at_micros = row.integer("now"),
                  .public_key = key.public_key(),
                  .signature = {}};
  head.signature = key.sign(head.message());
  return head;
}

std::string bytes_of(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  const auto bytes = value && value->is_string() ? base::hex_decode(value->get_string()) : std::nullopt;
  if (!bytes) throw std::runtime_error(std::string(name) + " is not hexadecimal");
  return *bytes;
}

std::int64_t integer_of(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (!value || !value->is_int64()) throw std::runtime_error(std::string(name) + " is no whole number");
  return value->get_int64();
}

LedgerHead parse_line(std::string_view line) {
  const json::value parsed = base::parse_json(line);
  if (!parsed.is_object()) throw std::runtime_error("is no object");
  const json::object& object = parsed.get_object();
  const json::value* ledger = object.if_contains("ledger");
  if (!ledger || (*ledger != "USD_NANO" && *ledger != "POINTS_MICRO")) throw std::runtime_error("names no ledger");
  return {.ledger = ledger_named(ledger->get_string()),
          .position = integer_of(object, "position"),
          .hash = bytes_of(object, "hash"),
          .made_at_micros = integer_of(object, "made_at_micros"),
          .public_key = bytes_of(object, "public_key"),
          .signature = bytes_of(object, "signature")};
}

}  // namespace

std::string LedgerHead::message() const {
  std::string text = "FTH1";
  text += static_cast<char>(static_cast<int>(ledger) + 1);
  text.append(3, '\0');
  put_integer(text, position);
  text += hash;
  put_integer(text, made_at_micros);
  return text;
}

std::vector<LedgerHead> sign_ends(postgres::Transaction& tx, const base::SigningKey& key) {
  const auto rows = tx.execute(kEnds);
  std::vector<LedgerHead> heads;
  for (std::size_t i = 0; i < rows.size(); ++i)
    heads.push_back(signed_end(rows.row(i), key));
  return heads;
}

std::vector<LedgerHead> keep_heads(postgres::Transaction& tx, const base::SigningKey& key, bool daily) {
  tx.execute("SELECT pg_advisory_xact_lock($1)", {kHeadsLock});  // of two at once, the second sees the first one's heads
  const auto rows = tx.execute(kEnds);
  std::vector<LedgerHead> heads;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    const auto kept = row.maybe_integer("kept");
    if (kept && (*kept >= row.integer("position") || (daily && row.boolean("today")))) continue;
    const LedgerHead head = signed_end(row, key);
    using postgres::Value;
    tx.execute(kKeep, {to_string(head.ledger), head.position, Value::bytes(head.hash), head.made_at_micros,
                       Value::bytes(head.public_key), Value::bytes(head.signature)});
    heads.push_back(head);
  }
  return heads;
}

std::vector<LedgerHead> read_heads(postgres::Transaction& tx) {
  const auto rows = tx.execute(kRead);
  std::vector<LedgerHead> heads;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    heads.push_back({.ledger = ledger_named(row.text("ledger")),
                     .position = row.integer("position"),
                     .hash = row.bytes("hash"),
                     .made_at_micros = row.integer("made_at_micros"),
                     .public_key = row.bytes("public_key"),
                     .signature = row.bytes("signature")});
  }
  return heads;
}

std::string to_line(const LedgerHead& head) {
  json::object line;
  line["ledger"] = to_string(head.ledger);
  line["position"] = head.position;
  line["hash"] = base::hex_encode(head.hash);
  line["made_at_micros"] = head.made_at_micros;
  line["public_key"] = base::hex_encode(head.public_key);
  line["signature"] = base::hex_encode(head.signature);
  return boost::json::serialize(line);
}

std::vector<LedgerHead> read_head_file(const fs::path& file) {
  const std::string text = base::read_file(file, kMostFileBytes);
  std::vector<LedgerHead> heads;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    ++number;
    try {
      heads.push_back(parse_line(std::string_view(text).substr(at, end - at)));
    } catch (const std::exception& error) {
      throw base::FormatError(file.string(), "line " + std::to_string(number),
                              std::string("is no signed head: ") + error.what());
    }
    at = end + 1;
  }
  return heads;
}

void HeadFiles::append(const std::vector<LedgerHead>& heads) const {
  if (heads.empty()) return;
  fs::create_directories(directory_);
  const fs::path file = directory_ / kKept;
  std::string lines;
  for (const LedgerHead& head : heads)
    lines += to_line(head) + "\n";
  const base::FileDescriptor fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.valid()) base::throw_errno("cannot open", file);
  base::write_all(fd.get(), lines, file);
  if (::fsync(fd.get()) != 0) base::throw_errno("cannot fsync", file);
  base::sync_directory(directory_);
}

void HeadFiles::put_latest(const std::vector<LedgerHead>& ends) const {
  if (ends.empty()) return;
  fs::create_directories(directory_);
  std::string lines;
  for (const LedgerHead& end : ends)
    lines += to_line(end) + "\n";
  base::write_durably(directory_ / kLatest, lines);
}

std::vector<LedgerHead> HeadFiles::read() const {
  std::vector<LedgerHead> heads;
  for (const char* name : {kKept, kLatest}) {
    if (!fs::exists(directory_ / name)) continue;
    const auto more = read_head_file(directory_ / name);
    heads.insert(heads.end(), more.begin(), more.end());
  }
  return heads;
}

}  // namespace finetuned::billing
