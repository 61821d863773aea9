#include "storage/named_objects.h"

namespace finetuned::storage {

namespace {

#define NAMED                                                                                                                  \
  "SELECT object_id, 'file ' || id AS named_by, bytes, sha256 FROM file WHERE deleted_at IS NULL OR EXISTS (SELECT FROM job"   \
  "  WHERE (training_file = file.id OR validation_file = file.id) AND finished_at IS NULL)"                                    \
  " UNION ALL SELECT p.object_id, 'part ' || p.id, p.bytes, NULL FROM upload_part p JOIN upload u ON u.id = p.upload_id"       \
  "  WHERE u.status = 'pending' AND u.expires_at > clock_timestamp()"                                                          \
  " UNION ALL SELECT o.value, 'checkpoint ' || c.id, NULL, c.sha256->>o.key FROM job_checkpoint c, jsonb_each_text(c.objects) o" \
  " UNION ALL SELECT o.value, 'model ' || m.name, NULL, NULL FROM fine_tuned_model m, jsonb_each_text(m.objects) o"            \
  "  WHERE m.deleted_at IS NULL"                                                                                               \
  " UNION ALL SELECT state_object, 'state of ' || id, NULL, NULL FROM job WHERE state_object IS NOT NULL AND finished_at IS NULL"  \
  " UNION ALL SELECT object_id, 'evidence of ' || stretch_id, NULL, NULL FROM donated_evidence WHERE object_id IS NOT NULL"                \
  " UNION ALL SELECT first_object, 'beginning of ' || id, NULL, NULL FROM donated_stretch WHERE first_object IS NOT NULL AND decided_at IS NULL"

constexpr char kNamed[] =
    "SELECT DISTINCT ON (object_id) object_id, named_by, max(bytes) OVER one AS bytes, max(sha256) OVER one AS sha256"
    " FROM (" NAMED ") AS named WINDOW one AS (PARTITION BY object_id) ORDER BY object_id, sha256 IS NULL, named_by";
constexpr char kKnown[] =
    "SELECT object_id FROM (" NAMED ") AS named WHERE object_id = ANY ($1::text[])"
    " UNION SELECT object_id FROM object_removal WHERE object_id = ANY ($1::text[])";
#undef NAMED

}  // namespace

std::vector<NamedObject> named_objects(postgres::Transaction& tx) {
  const auto rows = tx.execute(kNamed);
  std::vector<NamedObject> objects;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    objects.push_back({row.text("object_id"), row.text("named_by"), row.maybe_integer("bytes"), row.maybe_text("sha256")});
  }
  return objects;
}

std::vector<std::string> known_objects(postgres::Transaction& tx, const std::vector<std::string>& ids) {
  const auto rows = tx.execute(kKnown, {postgres::Value::texts(ids)});
  std::vector<std::string> known;
  for (std::size_t i = 0; i < rows.size(); ++i) known.push_back(rows.row(i).text("object_id"));
  return known;
}

}  // namespace finetuned::storage
