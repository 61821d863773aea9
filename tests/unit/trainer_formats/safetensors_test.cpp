#include "trainer/formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "trainer/formats/half.h"

namespace finetuned::formats {
namespace {

using base::FormatError;
using testing::HasSubstr;

std::string with_header(const std::string& header, const std::string& data) {
  const std::uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + data;
}

class Safetensors : public testing::Test {
 protected:
  /// What opening a file with these bytes complains of; empty where it is accepted.
  std::string fault_of(const std::string& bytes) {
    const auto file = directory_ / "x.safetensors";
    base::write_durably(file, bytes);
    try {
      SafetensorsFile::open(file);
    } catch (const FormatError& error) {
      EXPECT_THAT(error.what(), HasSubstr(file.string()));
      return error.what();
    }
    return "";
  }

  std::string fault_of(const std::string& header, std::size_t data_bytes) {
    return fault_of(with_header(header, std::string(data_bytes, '\1')));
  }

  TemporaryDirectory directory_;
};

TEST_F(Safetensors, WritesAndReadsBack) {
  const std::vector<float> a{1.5f, -2.0f, 3.25f, 0.0f, -0.0f, 1e-30f};
  const std::vector<float> b{7.0f};
  const auto file = directory_ / "two.safetensors";
  write_safetensors(file, {{"b", {}, b}, {"a", {2, 3}, a}});
  const SafetensorsFile read = SafetensorsFile::open(file);
  ASSERT_EQ(read.tensors().size(), 2u);
  EXPECT_EQ(read.tensors()[0].name, "a");
  EXPECT_EQ(read.find("a")->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(read.find("a")->to_f32(), a);
  ASSERT_NE(read.find("a")->f32_in_place(), nullptr);
  EXPECT_EQ(read.find("b")->elements(), 1);
  EXPECT_EQ(read.find("c"), nullptr);
  EXPECT_EQ(read.metadata().at("format"), "pt");
}

TEST_F(Safetensors, SameTensorsGiveTheSameBytesInWhateverOrder) {
  const std::vector<float> a(10, 1.0f), b(3, 2.0f);
  write_safetensors(directory_ / "1", {{"a", {10}, a}, {"b", {3}, b}}, Dtype::kBF16);
  write_safetensors(directory_ / "2", {{"b", {3}, b}, {"a", {10}, a}}, Dtype::kBF16);
  EXPECT_EQ(base::read_file(directory_ / "1", 1 << 20), base::read_file(directory_ / "2", 1 << 20));
}

TEST_F(Safetensors, HalfTypesRoundToNearestEven) {
  const std::vector<float> values{1.0f, 1.00390625f, 1.01171875f, 65504.0f, 65520.0f, 6e-8f, -3.14159f};
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kF16}) {
    write_safetensors(directory_ / "half", {{"a", {7}, values}}, dtype);
    const auto back = SafetensorsFile::open(directory_ / "half").find("a")->to_f32();
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(back[i], dtype == Dtype::kBF16 ? bf16_to_f32(f32_to_bf16(values[i])) : f16_to_f32(f32_to_f16(values[i])));
  }
  EXPECT_EQ(f32_to_bf16(1.00390625f), f32_to_bf16(1.0f));  // a tie, to even
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);                 // a tie, to infinity
}

TEST_F(Safetensors, EveryBinary16SurvivesTheWayThere) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(f32_to_f16(value), bits);
  }
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_F(Safetensors, RefusesTruncatedAndEmptyFiles) {
  EXPECT_THAT(fault_of(""), HasSubstr("empty"));
  EXPECT_THAT(fault_of("1234567"), HasSubstr("first 8 bytes"));
  const std::vector<float> values(100, 1.0f);
  const auto file = directory_ / "whole";
  write_safetensors(file, {{"a", {100}, values}});
  const std::string whole = base::read_file(file, 1 << 20);
  EXPECT_EQ(fault_of(whole), "");
  for (std::size_t size = 0; size < whole.size(); ++size) ASSERT_NE(fault_of(whole.substr(0, size)), "") << size;
  EXPECT_THAT(fault_of(whole.substr(0, whole.size() - 4)), HasSubstr("truncated"));
  EXPECT_THAT(fault_of(whole + "x"), HasSubstr("nothing may lie outside"));
}

TEST_F(Safetensors, RefusesALyingHeaderLength) {
  std::string bytes = with_header("{}", "");
  bytes[0] = 3;
  EXPECT_THAT(fault_of(bytes), HasSubstr("claims 3 bytes"));
  bytes.replace(0, 8, "\xff\xff\xff\xff\xff\xff\xff\xff");
  EXPECT_THAT(fault_of(bytes), HasSubstr("claims 18446744073709551615 bytes"));
  bytes.replace(0, 8, std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));  // 100,000,001
  EXPECT_THAT(fault_of(bytes + std::string(200, ' ')), HasSubstr("100 MB"));
}

TEST_F(Safetensors, RefusesTensorsThatLie) {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_EQ(fault_of(entry("F32", "[2]", "[0,8]"), 8), "");
  EXPECT_THAT(fault_of(entry("F31", "[2]", "[0,8]"), 8), HasSubstr("'F31' is unknown"));
  EXPECT_THAT(fault_of(entry("F32", "[3]", "[0,8]"), 8), HasSubstr("need 12"));
  EXPECT_THAT(fault_of(entry("F32", "[2]", "[8,0]"), 8), HasSubstr("outside"));
  EXPECT_THAT(fault_of(entry("F32", "[2]", "[0,16]"), 8), HasSubstr("outside"));
  EXPECT_THAT(fault_of(entry("F32", "[2]", "[-8,0]"), 8), HasSubstr(">= 0"));
  EXPECT_THAT(fault_of(entry("F32", "[-2]", "[0,8]"), 8), HasSubstr(">= 0"));
  EXPECT_THAT(fault_of(entry("F32", "[2.0]", "[0,8]"), 8), HasSubstr("not an integer"));
  EXPECT_THAT(fault_of(entry("F32", "[4294967296,4294967296]", "[0,8]"), 8), HasSubstr("2^64"));
  EXPECT_THAT(fault_of(entry("F32", "[4611686018427387905]", "[0,4]"), 4), HasSubstr("2^64"));
  EXPECT_THAT(fault_of(entry("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8), HasSubstr("8 dimensions"));
  EXPECT_THAT(fault_of(entry("F32", "[1]", "[4,8]"), 8), HasSubstr("gap"));
  EXPECT_THAT(fault_of(entry("F32", "[1]", "[0,4]"), 8), HasSubstr("4 of 8 bytes"));
  EXPECT_THAT(fault_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), HasSubstr("data_offsets"));
  EXPECT_THAT(fault_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4), HasSubstr("x"));
  EXPECT_THAT(fault_of(R"({"a":5})", 0), HasSubstr("not an object"));
  EXPECT_THAT(fault_of("[]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(fault_of("{", 0), HasSubstr("header"));
}

TEST_F(Safetensors, RefusesOverlapsAndDuplicateNames) {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string b = R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})";
  EXPECT_THAT(fault_of("{" + a + "," + b + "}", 12), HasSubstr("overlap"));
  EXPECT_THAT(fault_of("{" + a + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), HasSubstr("overlap"));
  EXPECT_NE(fault_of("{" + a + R"(,"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", 12), "");
}

TEST_F(Safetensors, AcceptsEmptyTensors) {
  EXPECT_EQ(fault_of(R"({"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},)"
                     R"("b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3), "");
}

TEST_F(Safetensors, SurvivesRandomDamage) {
  const std::vector<float> values(8, 1.0f);
  const auto file = directory_ / "whole";
  write_safetensors(file, {{"a", {4}, std::span(values).subspan(0, 4)}, {"b", {2, 2}, std::span(values).subspan(4)}});
  const std::string whole = base::read_file(file, 1 << 20);
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    fault_of(damaged);  // refused or accepted, never a crash
  }
}

TEST_F(Safetensors, RefusesOtherTypesAsWeights) {
  const auto file = directory_ / "ints";
  base::write_durably(file, with_header(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", std::string(8, '\1')));
  const SafetensorsFile read = SafetensorsFile::open(file);
  EXPECT_THROW(read.find("a")->to_f32(), FormatError);
}

TEST_F(Safetensors, ReadsShardsByTheirIndex) {
  const std::vector<float> one(4, 1.0f), two(4, 2.0f);
  write_safetensors(directory_ / "model-1.safetensors", {{"a", {4}, one}});
  write_safetensors(directory_ / "model-2.safetensors", {{"b", {2, 2}, two}});
  const auto index = directory_ / "model.safetensors.index.json";
  const auto with_map = [&](const std::string& map) { base::write_durably(index, R"({"metadata":{},"weight_map":)" + map + "}"); };
  with_map(R"({"a":"model-1.safetensors","b":"model-2.safetensors"})");
  const Weights weights = Weights::open(directory_.path());
  EXPECT_EQ(weights.at("b", std::vector<std::int64_t>{2, 2}).to_f32(), two);
  EXPECT_EQ(weights.tensors().size(), 2u);
  EXPECT_THROW(weights.at("b", std::vector<std::int64_t>{4}), FormatError);
  EXPECT_THROW(weights.at("c", std::vector<std::int64_t>{4}), FormatError);
  for (const char* map : {R"({"a":"model-1.safetensors","b":"model-1.safetensors"})", R"({"a":"model-1.safetensors"})",
                          R"({"a":"../model-1.safetensors"})", R"({"a":"model-3.safetensors"})", "{}", "[]",
                          R"({"a":"model-1.safetensors","b":"model-2.safetensors","c":"model-2.safetensors"})"}) {
    with_map(map);
    if (std::string(map) == R"({"a":"model-1.safetensors"})") {
      EXPECT_NO_THROW(Weights::open(directory_.path()));  // a shard that nothing needs is not read
    } else {
      EXPECT_THROW(Weights::open(directory_.path()), FormatError) << map;
    }
  }
}

TEST_F(Safetensors, MissingWeightsNameTheRemedy) {
  try {
    Weights::open(directory_.path());
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("safetensors form"));
  }
}

}  // namespace
}  // namespace finetuned::formats
