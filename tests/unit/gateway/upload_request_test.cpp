#include "services/gateway/upload_request.h"

#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/json.h"

namespace finetuned::gateway {
namespace {

struct Refusal {
  std::string code;
  std::string param;
};

template <class Parse>
Refusal refused(Parse parse, const std::string& body) {
  try {
    parse(body);
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    return {error.code, error.param.value_or("")};
  }
  return {"accepted", ""};
}

std::string upload_with(const std::string& key, const std::string& value) {
  base::json::object body{{"filename", "a.jsonl"}, {"purpose", "fine-tune"}, {"bytes", 10}, {"mime_type", "text/jsonl"}};
  if (value.empty())
    body.erase(key);
  else
    body[key] = base::parse_json(value);
  return base::json::serialize(body);
}

TEST(UploadRequest, ReadsEverything) {
  const auto upload = parse_upload_request(
      R"({"filename":"../data/a\u0007.jsonl","purpose":"fine-tune","bytes":8589934592,"mime_type":"text/jsonl",
          "expires_after":{"anchor":"created_at","seconds":2592000}})");
  EXPECT_EQ(upload.filename, "a.jsonl");
  EXPECT_EQ(upload.purpose, "fine-tune");
  EXPECT_EQ(upload.bytes, 8589934592);
  EXPECT_EQ(upload.mime_type, "text/jsonl");
  EXPECT_EQ(upload.file_expires_seconds, 2592000);
  EXPECT_FALSE(parse_upload_request(upload_with("expires_after", "null")).file_expires_seconds);
}

TEST(UploadRequest, NamesTheParameterAtFault) {
  struct Case {
    std::string key, value, code, param;
  };
  const std::vector<Case> cases{
      {"filename", "", "missing_required_parameter", "filename"},
      {"filename", "\"\"", "invalid_value", "filename"},
      {"filename", "\"" + std::string(257, 'a') + "\"", "invalid_value", "filename"},
      {"purpose", "", "missing_required_parameter", "purpose"},
      {"purpose", "\"fine-tune-results\"", "invalid_value", "purpose"},
      {"bytes", "", "missing_required_parameter", "bytes"},
      {"bytes", "0", "invalid_value", "bytes"},
      {"bytes", "-1", "invalid_value", "bytes"},
      {"bytes", "1.5", "invalid_value", "bytes"},
      {"bytes", "8589934593", "invalid_value", "bytes"},
      {"mime_type", "", "missing_required_parameter", "mime_type"},
      {"mime_type", "7", "invalid_value", "mime_type"},
      {"expires_after", "3600", "invalid_value", "expires_after"},
      {"expires_after", R"({"seconds":3600})", "invalid_value", "expires_after.anchor"},
      {"expires_after", R"({"anchor":"now","seconds":3600})", "invalid_value", "expires_after.anchor"},
      {"expires_after", R"({"anchor":"created_at"})", "invalid_value", "expires_after.seconds"},
      {"expires_after", R"({"anchor":"created_at","seconds":3599})", "invalid_value", "expires_after.seconds"},
      {"expires_after", R"({"anchor":"created_at","seconds":2592001})", "invalid_value", "expires_after.seconds"},
  };
  for (const Case& one : cases) {
    const Refusal refusal = refused(parse_upload_request, upload_with(one.key, one.value));
    EXPECT_EQ(refusal.code, one.code) << one.key << " " << one.value;
    EXPECT_EQ(refusal.param, one.param) << one.key << " " << one.value;
  }
}

TEST(CompletionRequest, ReadsTheOrderAndTheChecksum) {
  const auto request =
      parse_completion_request(R"({"part_ids":["part-b","part-a"],"md5":"D41D8CD98F00B204E9800998ECF8427E"})");
  EXPECT_EQ(request.part_ids, (std::vector<std::string>{"part-b", "part-a"}));
  EXPECT_EQ(request.md5, "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_FALSE(parse_completion_request(R"({"part_ids":["part-a"],"md5":null})").md5);
}

TEST(CompletionRequest, NamesTheParameterAtFault) {
  std::string many = R"({"part_ids":["part-a")";
  for (int i = 0; i < 10'000; ++i) many += ",\"part-" + std::to_string(i) + "\"";
  const std::pair<std::string, std::string> cases[] = {
      {"{}", "part_ids"},
      {R"({"part_ids":"part-a"})", "part_ids"},
      {R"({"part_ids":[]})", "part_ids"},
      {R"({"part_ids":[1]})", "part_ids"},
      {R"({"part_ids":["file-a"]})", "part_ids"},
      {R"({"part_ids":["part-a","part-b","part-a"]})", "part_ids"},
      {many + "]}", "part_ids"},
      {R"({"part_ids":["part-a"],"md5":"d41d8cd98f00b204e9800998ecf8427"})", "md5"},
      {R"({"part_ids":["part-a"],"md5":"g41d8cd98f00b204e9800998ecf8427e"})", "md5"},
      {R"({"part_ids":["part-a"],"md5":5})", "md5"},
  };
  for (const auto& [body, param] : cases)
    EXPECT_EQ(refused(parse_completion_request, body).param, param) << body.substr(0, 80);
}

TEST(UploadId, WhatCannotBeOneDoesNotExist) {
  EXPECT_EQ(checked_upload_id("upload-a1"), "upload-a1");
  for (const std::string id : {"file-a", "upload-", "upload-a b", "upload-a/b", ""}) {
    try {
      checked_upload_id(id);
      ADD_FAILURE() << id;
    } catch (const base::ApiError& error) {
      EXPECT_EQ(error.status, 404) << id;
      EXPECT_EQ(error.code, "upload_not_found") << id;
    }
  }
}

}  // namespace
}  // namespace finetuned::gateway
