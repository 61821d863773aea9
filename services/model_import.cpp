#include "services/model_import.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <system_error>

#include "base/errors.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "services/worker/scratch.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"
#include "trainer/text/supervised.h"

namespace finetuned::services {

namespace {

namespace fs = std::filesystem;
using postgres::Scope;
using postgres::Transaction;

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::size_t kLongestName = 100;

constexpr const char* kSideFiles[] = {"config.json",           "tokenizer.json",      "tokenizer_config.json",
                                      "chat_template.jinja",   "generation_config.json", "special_tokens_map.json",
                                      "model.safetensors.index.json"};

std::string family_name(formats::Architecture architecture) {
  switch (architecture) {
    case formats::Architecture::kLlama: return "llama";
    case formats::Architecture::kQwen2: return "qwen2";
    case formats::Architecture::kQwen3: return "qwen3";
    case formats::Architecture::kMistral: return "mistral";
  }
  return "llama";
}

/// Files that make up the model, sorted by name.
std::vector<fs::path> files_of(const fs::path& directory) {
  std::vector<fs::path> files = formats::Weights::open(directory).files();
  for (const char* name : kSideFiles)
    if (fs::exists(directory / name)) files.push_back(directory / name);
  std::sort(files.begin(), files.end(),
            [](const fs::path& a, const fs::path& b) { return a.filename() < b.filename(); });
  return files;
}

/// SHA-256 over the names and hashes of the model's files.
std::string manifest_hash(const std::map<std::string, std::string>& hash_by_name) {
  std::string manifest;
  for (const auto& [name, hash] : hash_by_name) manifest += hash + "  " + name + "\n";
  return base::sha256_hex(manifest);
}

std::string hash_files(const std::vector<fs::path>& files) {
  std::map<std::string, std::string> hashes;
  for (const fs::path& file : files) hashes[file.filename()] = base::sha256_file(file);
  return manifest_hash(hashes);
}

/// Copies one file, fsynced. Returns its hash.
std::string copy_durably(const fs::path& from, const fs::path& to) {
  std::ifstream in(from, std::ios::binary);
  if (!in) base::throw_errno("open", from);
  base::DurableFile out(to);
  base::Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0) {
    const auto got = static_cast<std::size_t>(in.gcount());
    hash.update(piece.data(), got);
    out.write(piece.data(), got);
  }
  if (in.bad()) throw std::runtime_error(from.string() + ": reading failed");
  out.commit();
  return hash.hex();
}

std::string checked_name(const fs::path& source, const std::string& name) {
  const std::string chosen = name.empty() ? fs::canonical(source).filename().string() : name;
  const auto is_letter_or_digit = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const bool fits = !chosen.empty() && chosen.size() <= kLongestName && is_letter_or_digit(chosen.front()) &&
                    std::all_of(chosen.begin(), chosen.end(), [&](char c) {
                      return is_letter_or_digit(c) || c == '.' || c == '_' || c == '/' || c == '-';
                    });
  if (!fits)
    throw base::UsageError("'" + chosen +
                           "' cannot be a model's name: give one with --name, of at most 100 letters, digits and "
                           "._/- that begins with a letter or digit");
  return chosen;
}

/// A plain conversation must come out as tokens to train on: else every job on this model would fail.
void check_template(const fs::path& directory, const text::RowEncoder& encoder) {
  text::Row row;
  row.line = 1;
  row.messages.resize(2);
  row.messages[0].content = "Hello";
  row.messages[1].role = text::Role::kAssistant;
  row.messages[1].content = "Hello to you";
  try {
    encoder.encode(row);
  } catch (const text::RowError& error) {
    throw base::FormatError(directory.string(), "chat_template",
                            std::string("cannot render a plain question and answer: ") + error.what());
  }
}

/// A model's folder on its way to its place: gone unless place() was called.
class IncomingModel {
 public:
  explicit IncomingModel(const fs::path& models)
      : models_(models), scratch_(models / ".incoming", base::make_id("model"), 1) {}

  /// Copies and returns the hash of what was copied.
  std::string copy(const std::vector<fs::path>& files) {
    fs::create_directory(folder());
    std::map<std::string, std::string> hashes;
    for (const fs::path& file : files) hashes[file.filename()] = copy_durably(file, folder() / file.filename());
    base::sync_directory(folder());
    return manifest_hash(hashes);
  }

  fs::path folder() const { return scratch_.path() / "model"; }

  void place(const fs::path& target) {
    std::error_code error;
    fs::rename(folder(), target, error);
    // Another import of the same content was first: its folder is as good.
    if (error && !fs::is_directory(target)) throw fs::filesystem_error("rename", folder(), target, error);
    base::sync_directory(models_);
  }

 private:
  fs::path models_;
  worker::Scratch scratch_;
};

[[noreturn]] void refuse_taken_name(const std::string& name) {
  throw base::UsageError("another model is registered as '" + name + "': choose another name with --name");
}

}  // namespace

CheckedModel check_model(const fs::path& directory) {
  const formats::ModelConfig config = formats::read_model_config(directory);
  formats::check_weights(config, formats::Weights::open(directory));
  const text::RowEncoder encoder(directory);
  if (encoder.tokenizer().vocabulary_size() > config.vocab_size)
    throw base::FormatError((directory / "tokenizer.json").string(), "model.vocab",
                            "has ids up to " + std::to_string(encoder.tokenizer().vocabulary_size() - 1) +
                                ", but the model's vocab_size is " + std::to_string(config.vocab_size) +
                                ": tokenizer and weights do not belong together");
  check_template(directory, encoder);
  return {.family = family_name(config.architecture),
          .parameters = formats::parameter_count(config),
          .context = config.max_position_embeddings,
          .tokenizer_fingerprint = encoder.tokenizer().fingerprint()};
}

ImportedModel import_model(postgres::Pool& pool, const fs::path& source, const fs::path& models_directory,
                           const std::string& name) {
  if (!fs::is_directory(source))
    throw base::UsageError(source.string() + " is not a folder: give the Hugging Face directory of a model");
  ImportedModel imported;
  storage::BaseModel& model = imported.model;
  model.name = checked_name(source, name);
  check_model(source);
  const std::vector<fs::path> files = files_of(source);
  model.sha256 = hash_files(files);
  const auto registered = pool.transact(
      Scope::system(), [&](Transaction& tx) { return storage::ModelStore(tx).find_base(model.name); });
  if (registered && registered->sha256 != model.sha256) refuse_taken_name(model.name);
  const fs::path target = models_directory / model.sha256;
  model.directory = target.string();
  if (!fs::is_directory(target)) {
    worker::Scratch::sweep(models_directory / ".incoming");
    IncomingModel incoming(models_directory);
    if (incoming.copy(files) != model.sha256)
      throw base::UsageError(source.string() + " changed while it was read: import it again once it stands still");
    incoming.place(target);
  }
  const CheckedModel checked = check_model(target);  // what is registered is what was checked
  model.family = checked.family;
  model.parameters = checked.parameters;
  model.context = checked.context;
  model.tokenizer_fingerprint = checked.tokenizer_fingerprint;
  try {
    imported.is_new = pool.transact(Scope::system(),
                                    [&](Transaction& tx) { return storage::ModelStore(tx).add_base(model); });
  } catch (const base::ApiError& error) {
    if (error.status == 409) refuse_taken_name(model.name);
    throw;
  }
  return imported;
}

}  // namespace finetuned::services
