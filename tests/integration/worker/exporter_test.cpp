#include "services/worker/exporter.h"

#include <cstdlib>

#include "base/ids.h"
#include "storage/donation_store.h"
#include "storage/export_store.h"
#include "storage/model_store.h"
#include "storage/worker_store.h"
#include "tests/integration/worker/worker_fixture.h"
#include "trainer/formats/peft.h"

namespace finetuned::worker {
namespace {

class ExporterTest : public WorkerTest {
 protected:
  ExporterTest() {
    tests::pool().transact(Scope::system(), [](Transaction& tx) { tx.execute("DELETE FROM model_export"); });
    options_for_export_ = {.name = "test", .scratch_directory = options_.scratch_directory};
  }
  storage::ModelExport ask(const std::string& model, const std::string& format) {
    return tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      bool queued = false;
      return *storage::ExportStore(tx, project_.id).ensure(model, format, &queued);
    });
  }
  storage::ModelExport find(const storage::ModelExport& one) {
    return tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      return *storage::ExportStore(tx, project_.id).find(one.model, one.id);
    });
  }
  bool export_one(const std::stop_token& stop = {}) {
    return Exporter(tests::pool(), data_.store(), options_for_export_).run_one(stop);
  }
  /// The export's archive, unpacked by the system's tar.
  fs::path unpacked(const storage::ModelExport& done) {
    const auto file = tests::pool().transact(
        Scope::project(project_.id), [&](Transaction& tx) { return *storage::FileStore(tx).find(*done.file_id); });
    EXPECT_EQ(file.purpose, "fine-tune-results");
    EXPECT_TRUE(file.filename.ends_with("." + done.format + ".tar")) << file.filename;
    const fs::path archive = data_.path() / (done.id + ".tar"), into = data_.path() / done.id;
    objects::fetch_file(data_.store(), file.object_id, archive);
    EXPECT_EQ(static_cast<std::int64_t>(fs::file_size(archive)), file.bytes);
    fs::create_directories(into);
    EXPECT_EQ(std::system(("tar -xf " + archive.string() + " -C " + into.string()).c_str()), 0);
    return into;
  }
  std::int64_t waiting_for_removal() {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      return tx.execute("SELECT count(*) AS n FROM object_removal WHERE project_id = $1", {project_.id}).row(0).integer("n");
    });
  }
  /// Trains a model and returns its job.
  std::string trained() {
    const auto made = create_job(settings(2));
    run_one();
    return made.id;
  }

  ExporterOptions options_for_export_;
};

/// What a donated machine trains is run again; what it would export nobody looks at.
TEST_F(ExporterTest, OnlyTheOperatorsOwnMachinesExport) {
  const std::string id = trained(), lent = "lab-" + base::make_id("w").substr(2);
  const auto wanted = ask(job(id).fine_tuned_model.value(), "peft");
  const auto system = [](auto work) { return tests::pool().transact(Scope::system(), work); };
  system([&](Transaction& tx) { return storage::DonationStore(tx).donate(lent, project_.id); });
  options_for_export_.known_as = lent;
  EXPECT_FALSE(export_one());
  options_for_export_.known_as = "own-" + lent;
  EXPECT_FALSE(export_one()) << "nobody has said so";
  system([&](Transaction& tx) { return storage::DonationStore(tx).own("own-" + lent); });
  EXPECT_TRUE(export_one());
  EXPECT_EQ(find(wanted).status, "done");
}

TEST_F(ExporterTest, AMachineThatIsNotTheOperatorsAnyMoreIsFencedOutOfItsExport) {
  const auto wanted = ask(job(trained()).fine_tuned_model.value(), "peft");
  const auto system = [](auto work) { return tests::pool().transact(Scope::system(), work); };
  const auto loses_it_by = [&](auto change) {
    const std::string machine = "own-" + base::make_id("w").substr(2);
    const auto claimed = system([&](Transaction& tx) {
      storage::WorkerStore(tx).seen({.name = machine + ":1", .device = "cpu", .known_as = machine, .engine = ""});
      storage::DonationStore(tx).own(machine);
      return storage::ExportLeases(tx).claim(machine + ":1", 60);
    });
    ASSERT_TRUE(claimed);
    system([&](Transaction& tx) { change(storage::DonationStore(tx), machine); });
    EXPECT_FALSE(system([&](Transaction& tx) { return storage::ExportLeases(tx).heartbeat(*claimed, 60); }));
  };
  for (int i = 0; i < storage::ExportLeases::kMostAttempts; ++i) {
    loses_it_by([](storage::DonationStore store, const std::string& machine) { store.end_leases(machine); });
    loses_it_by([&](storage::DonationStore store, const std::string& machine) { store.donate(machine, project_.id); });
  }
  ASSERT_TRUE(export_one()) << "no attempt of its";
  EXPECT_EQ(find(wanted).status, "done");
}

TEST_F(ExporterTest, PeftIsTheAdaptersOwnFiles) {
  EXPECT_FALSE(export_one()) << "nothing waits";
  const std::string id = trained();
  const auto asked = ask(*job(id).fine_tuned_model, "peft");
  ASSERT_TRUE(export_one());
  const auto done = find(asked);
  ASSERT_EQ(done.status, "done") << done.error_message.value_or("");
  const fs::path files = unpacked(done);
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json", "manifest.json"})
    EXPECT_EQ(base::read_file(files / name, 1 << 20), result(id, name)) << name;
  EXPECT_EQ(waiting_for_removal(), 0);
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(ExporterTest, MergedIsABaseOfItsOwn) {
  const std::string id = trained();
  const auto asked = ask(*job(id).fine_tuned_model, "merged");
  ASSERT_TRUE(export_one());
  const auto done = find(asked);
  ASSERT_EQ(done.status, "done") << done.error_message.value_or("");
  const fs::path files = unpacked(done), base = model_.directory;
  EXPECT_EQ(base::read_file(files / "tokenizer.json", 1 << 24), base::read_file(base / "tokenizer.json", 1 << 24));
  const auto config = formats::read_model_config(files);
  fs::create_directories(data_.path() / "adapter");
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json"})
    base::write_durably(data_.path() / "adapter" / name, result(id, name));
  const auto adapter = formats::read_adapter(data_.path() / "adapter", config);
  const auto before = formats::Weights::open(base), after = formats::Weights::open(files);
  ASSERT_FALSE(adapter.pairs.empty());
  const formats::LoraPair& pair = adapter.pairs.front();
  const std::string name = formats::linear_path(pair.layer, pair.module) + ".weight";
  const auto from = before.find(name)->to_f32(), to = after.find(name)->to_f32();
  double moved = 0;
  const std::size_t rank = pair.a.size() / static_cast<std::size_t>(pair.in);
  for (std::size_t o = 0, k = 0; o < static_cast<std::size_t>(pair.out); ++o)
    for (std::size_t i = 0; i < static_cast<std::size_t>(pair.in); ++i, ++k) {
      double sum = 0;
      for (std::size_t r = 0; r < rank; ++r)
        sum += static_cast<double>(pair.b[o * rank + r]) * pair.a[r * static_cast<std::size_t>(pair.in) + i];
      moved += std::abs(adapter.config.scale() * sum);
      ASSERT_NEAR(to[k], from[k] + adapter.config.scale() * sum, 0.005 * std::abs(from[k]) + 1e-5);
    }
  EXPECT_GT(moved, 0) << "the training changed something";
}

TEST_F(ExporterTest, CheckpointsAreExportedToo) {
  const std::string id = trained();
  const auto all = checkpoints(id);
  ASSERT_FALSE(all.empty());
  const auto asked = ask(all.front().model_name, "peft");
  ASSERT_TRUE(export_one());
  const auto done = find(asked);
  ASSERT_EQ(done.status, "done") << done.error_message.value_or("");
  EXPECT_TRUE(fs::exists(unpacked(done) / "adapter_model.safetensors"));
}

TEST_F(ExporterTest, ADeletedModelFails) {
  const std::string id = trained(), model = *job(id).fine_tuned_model;
  const auto asked = ask(model, "merged");
  tests::pool().transact(Scope::project(project_.id),
                         [&](Transaction& tx) { EXPECT_TRUE(storage::ModelStore(tx).remove_fine_tuned(model)); });
  ASSERT_TRUE(export_one());
  EXPECT_EQ(find(asked).status, "failed");
  EXPECT_EQ(find(asked).error_code, "model_not_found");
}

TEST_F(ExporterTest, AStopHandsItBackAndLeavesNothing) {
  const std::string id = trained();
  const auto asked = ask(*job(id).fine_tuned_model, "merged");
  std::stop_source stop;
  stop.request_stop();
  ASSERT_TRUE(export_one(stop.get_token()));
  EXPECT_EQ(find(asked).status, "queued");
  EXPECT_EQ(waiting_for_removal(), 1) << "the object that was begun is swept";
  EXPECT_TRUE(scratch_is_empty());
  ASSERT_TRUE(export_one());
  EXPECT_EQ(find(asked).status, "done");
}

TEST_F(ExporterTest, ALostLeaseWritesNothing) {
  const std::string id = trained();
  const auto asked = ask(*job(id).fine_tuned_model, "peft");
  options_for_export_.lease_seconds = 0;
  ASSERT_TRUE(export_one());
  EXPECT_EQ(find(asked).status, "running");
  EXPECT_FALSE(find(asked).file_id);
}

}  // namespace
}  // namespace finetuned::worker
