#include "storage/outbox_store.h"

namespace finetuned::storage {

void OutboxStore::add(const std::string& project_id, const std::string& stream, const std::string& payload) {
  tx_.execute_later("INSERT INTO outbox (project_id, stream, payload) VALUES ($1, $2, $3)", {project_id, stream, payload});
}

std::vector<OutboxMessage> OutboxStore::take(int most) {
  const auto rows =
      tx_.execute("SELECT seq, stream, payload FROM outbox ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED", {most});
  std::vector<OutboxMessage> messages;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    messages.push_back({row.integer("seq"), row.text("stream"), row.text("payload")});
  }
  return messages;
}

void OutboxStore::sent(const std::vector<OutboxMessage>& messages) {
  std::vector<std::string> seqs;
  for (const OutboxMessage& message : messages) seqs.push_back(std::to_string(message.seq));
  tx_.execute("DELETE FROM outbox WHERE seq = ANY ($1::bigint[])", {postgres::Value::texts(seqs)});
}

}  // namespace finetuned::storage
