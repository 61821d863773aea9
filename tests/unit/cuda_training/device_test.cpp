#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/machine.h"
#include "tests/cuda_emulator/emulator.h"
#include "trainer/tensor/any_device.h"
#include "trainer/training/fingerprint.h"

namespace finetuned::tensor {
namespace {

using testing::HasSubstr;

// The emulator stands for a machine with one GPU.

TEST(Choice, TakesANamedDevice) {
  EXPECT_EQ(choose_device("cpu").spec, DeviceSpec{});
  EXPECT_EQ(choose_device("cuda").spec, (DeviceSpec{DeviceSpec::Kind::kCuda, 0}));
  EXPECT_EQ(choose_device("cuda:0").spec, (DeviceSpec{DeviceSpec::Kind::kCuda, 0}));
  EXPECT_EQ(choose_device("cuda:0").reason, "");
  EXPECT_EQ(device_name(choose_device("cuda").spec), "cuda:0");
}

TEST(Choice, OfAutoIsAGpuWhereOneIsAndSaysSo) {
  const DeviceChoice choice = choose_device("auto");
  EXPECT_TRUE(choice.spec.is_cuda());
  EXPECT_THAT(choice.reason, HasSubstr("emulated"));
}

TEST(Choice, RefusesWhatIsNotThereOrNoDevice) {
  const auto refusal_of = [](const std::string& name) -> std::string {
    try {
      choose_device(name);
    } catch (const base::UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal_of("cuda:1"), HasSubstr("there is no GPU 1: this process sees 1"));
  for (const char* name : {"gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:0 ", "cuda:99999999999", "CPU"})
    EXPECT_THAT(refusal_of(name), HasSubstr("there is no device")) << name;
}

TEST(Choice, OfSeveralIsAListOfGpus) {
  EXPECT_THAT(choose_devices("cpu").specs, testing::ElementsAre(DeviceSpec{}));
  EXPECT_THAT(choose_devices("cuda:0").specs, testing::ElementsAre(DeviceSpec{DeviceSpec::Kind::kCuda, 0}));
  EXPECT_THAT(choose_devices("auto").reason, HasSubstr("emulated"));
  const auto refusal_of = [](const std::string& name) -> std::string {
    try {
      choose_devices(name);
    } catch (const base::UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal_of("cuda:0,0"), HasSubstr("cuda:0 is named twice"));
  EXPECT_THAT(refusal_of("cuda:0,1"), HasSubstr("there is no GPU 1"));
  for (const char* name : {"cuda:0,", "cuda:,0", "cpu,cpu", "cuda:0,cuda:1", ",", "cuda,0"})
    EXPECT_THAT(refusal_of(name), HasSubstr("is no list of GPUs; give their numbers, as cuda:0,1")) << name;
}

TEST(Choice, OfSeveralIsOfOneClass) {
  cuda_emulator::show_gpus({"one", "one", "other"});
  const auto gpu = [](int index) { return DeviceSpec{DeviceSpec::Kind::kCuda, index}; };
  EXPECT_THAT(choose_devices("cuda:1,0").specs, testing::ElementsAre(gpu(1), gpu(0)));
  try {
    choose_devices("cuda:0,1,2");
    ADD_FAILURE() << "GPUs of two classes were taken";
  } catch (const base::UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("of two classes, cuda-sm_90 one and cuda-sm_90 other,"));
  }
  EXPECT_EQ(device_class(gpu(0)), device_class(gpu(1)));
  EXPECT_NE(device_identity(gpu(0)), device_identity(gpu(1))) << "two of one class are not one";
  EXPECT_THAT(device_identity(gpu(2)), testing::AllOf(HasSubstr("cuda-sm_90 other"), HasSubstr("the emulator's own")));
  cuda_emulator::show_gpus({"emulated"});
}

TEST(Choice, OfMemoryLeavesAGpuATwentieth) {
  const DeviceSpec gpu{DeviceSpec::Kind::kCuda, 0};
  const std::uint64_t free = Cuda::free_bytes_of(0);
  EXPECT_EQ(device_memory_bytes(gpu, 0), free - free / 20);
  EXPECT_EQ(device_memory_bytes(gpu, 5), 5u);
  EXPECT_EQ(device_memory_bytes({}, 0), base::run_memory_bytes());
}

TEST(Choice, IsToldByBackends) {
  const auto all = backends();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].name, "cuda");
  EXPECT_TRUE(all[1].built && all[1].usable);
  EXPECT_THAT(all[1].detail, HasSubstr("compute capability 9.0"));
}

TEST(DeviceClass, PartsGpusFromProcessors) {
  AnyDevice gpu({DeviceSpec::Kind::kCuda, 0}, 1), cpu({}, 1);
  const auto class_of = [](const auto& device) { return device_class(device); };
  EXPECT_EQ(gpu.visit(class_of), "cuda-sm_90 emulated");
  EXPECT_EQ(device_class(gpu.spec()), gpu.visit(class_of));
  EXPECT_EQ(cpu.visit(class_of), device_class(cpu.spec()));
}

/// A donated worker's steps are run again by the same engine alone, or an honest one would be found out.
TEST(DeviceClass, AnotherLibraryIsAnotherEngineOnAGpuAlone) {
  cuda_emulator::show_gpus({"one", "one", "other"});
  const auto engine_of = [](const DeviceSpec& spec) {
    training::RunConfig config;
    config.device = spec;
    return training::engine_sha256(config);
  };
  const DeviceSpec gpu{DeviceSpec::Kind::kCuda, 0}, like_it{DeviceSpec::Kind::kCuda, 1}, other{DeviceSpec::Kind::kCuda, 2};
  const std::string before = engine_of(gpu), processor = engine_of({});
  EXPECT_EQ(engine_of(like_it), before);
  EXPECT_NE(engine_of(other), before);
  EXPECT_NE(processor, before);
  EXPECT_THAT(device_engine(gpu), testing::AllOf(HasSubstr("emulated"), HasSubstr("the emulator's own")));
  cuda_emulator::show_library("another");
  EXPECT_NE(engine_of(gpu), before);
  EXPECT_EQ(engine_of({}), processor);
  cuda_emulator::show_library("the emulator's own");
  cuda_emulator::show_gpus({"emulated"});
}

}  // namespace
}  // namespace finetuned::tensor
