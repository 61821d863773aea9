#include "services/gateway/multipart.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/errors.h"

namespace finetuned::gateway {
namespace {

struct Part {
  PartHead head;
  std::string data;
  bool ended = false;
};

class Collector final : public PartSink {
 public:
  void on_part(const PartHead& head) override { parts.push_back({head, "", false}); }
  void on_data(std::string_view data) override { parts.back().data += data; }
  void on_part_end() override { parts.back().ended = true; }
  std::vector<Part> parts;
};

std::vector<Part> read(const std::string& body, std::size_t piece, const std::string& boundary = "xyz") {
  Collector collector;
  MultipartReader reader(boundary, collector);
  for (std::size_t at = 0; at < body.size(); at += piece) reader.feed(std::string_view(body).substr(at, piece));
  reader.finish();
  return collector.parts;
}

const std::string kHead = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\nContent-Type: text/plain\r\n\r\n";
const std::string kEnd = "\r\n--xyz--\r\n";

TEST(Multipart, ReadsPartsHoweverTheyAreCut) {
  const std::string data = "{\"a\":1}\r\n--xy\r\n--xz\r\n-\r\n\r\r\n--xyy\n";
  const std::string body = kHead + data + "\r\n--xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune" + kEnd;
  for (std::size_t piece = 1; piece <= body.size(); ++piece) {
    const auto parts = read(body, piece);
    ASSERT_EQ(parts.size(), 2u) << piece;
    EXPECT_EQ(parts[0].head.name, "file");
    EXPECT_EQ(parts[0].head.filename, "a.jsonl");
    EXPECT_EQ(parts[0].head.content_type, "text/plain");
    EXPECT_EQ(parts[0].data, data) << piece;
    EXPECT_TRUE(parts[0].ended);
    EXPECT_EQ(parts[1].head.name, "purpose");
    EXPECT_EQ(parts[1].head.filename, std::nullopt);
    EXPECT_EQ(parts[1].data, "fine-tune");
  }
}

/// Where it was cut inside the head's empty line, a head of 8190 to 8192 bytes was refused.
TEST(Multipart, BoundsAHeadHoweverItIsCut) {
  const std::string begin = "Content-Disposition: form-data; name=\"a\"\r\nX: ";
  for (const std::size_t size : {8189u, 8190u, 8191u, 8192u, 8193u}) {
    const std::string body = "--xyz\r\n" + begin + std::string(size - begin.size(), 'x') + "\r\n\r\n1" + kEnd;
    for (std::size_t piece = body.size() - 40; piece <= body.size(); ++piece) {
      if (size <= 8192)
        EXPECT_EQ(read(body, piece).size(), 1u) << size << " in pieces of " << piece;
      else
        EXPECT_THROW(read(body, piece), base::ApiError) << size << " in pieces of " << piece;
    }
  }
}

TEST(Multipart, ReadsRandomBytesInRandomPieces) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string data(random() % 5000, '\0');
    for (char& c : data) c = "\r\n-xyz\0a"[random() % 8];
    while (data.find("\r\n--xyz") != std::string::npos) data.erase(data.find("\r\n--xyz"), 1);
    const std::string body = kHead + data + kEnd;
    Collector collector;
    MultipartReader reader("xyz", collector);
    for (std::size_t at = 0; at < body.size();) {
      const std::size_t piece = 1 + random() % (round % 2 == 0 ? 64 : 2000);
      reader.feed(std::string_view(body).substr(at, piece));
      at += piece;
    }
    reader.finish();
    ASSERT_EQ(collector.parts.size(), 1u);
    ASSERT_EQ(collector.parts[0].data, data);
  }
}

TEST(Multipart, ReadsAnEmptyPart) {
  const auto parts = read(kHead + kEnd, 3);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].data, "");
  EXPECT_TRUE(parts[0].ended);
}

TEST(Multipart, AcceptsAMissingLastLineEnd) { EXPECT_EQ(read(kHead + "x\r\n--xyz--", 4).size(), 1u); }

TEST(Multipart, RefusesBrokenBodies) {
  const std::string many = [] {
    std::string body;
    for (int i = 0; i < 33; ++i) body += "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n";
    return body + "--xyz--";
  }();
  const std::vector<std::string> bad{
      "", "--xyz", "--xyz--x", kHead + "never closed", kHead + "x\r\n--xyz", kHead + "x\r\n--xyz--more", "before\r\n" + kHead + kEnd,
      kHead + "x\r\n--xyzz\r\n" + kEnd, "--xyz \r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + kEnd,
      "--xyz\nContent-Disposition: form-data; name=\"a\"\n\nb\n--xyz--", "--xyz\r\n\r\nno head" + kEnd,
      "--xyz\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx" + kEnd,
      "--xyz\r\nContent-Disposition: form-data\r\n\r\nx" + kEnd,
      "--xyz\r\nContent-Disposition: form-data; name=\"a\r\n\r\nx" + kEnd,
      "--xyz\r\nContent-Disposition: form-data; name=\"a\"; name=\"b\"\r\n\r\nx" + kEnd,
      "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\nx" + kEnd,
      "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\nx" + kEnd,
      "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n folded: yes\r\n\r\nx" + kEnd,
      "--xyz\r\nX: " + std::string(9000, 'a') + "\r\n\r\nx" + kEnd, many};
  for (const std::string& body : bad)
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{100000}})
      EXPECT_THROW(read(body, piece), base::ApiError) << body.substr(0, 80);
}

TEST(Multipart, FilenamesAreLabels) {
  const auto label = [](const std::string& disposition) {
    return parse_part_head("Content-Disposition: form-data; name=\"file\"; " + disposition).filename.value_or("none");
  };
  EXPECT_EQ(label("filename=\"../../etc/passwd\""), "passwd");
  EXPECT_EQ(label("filename=\"C:\\data\\x.jsonl\""), "x.jsonl");
  EXPECT_EQ(label("filename=\"a;b\\\"c.jsonl\""), "a;b\"c.jsonl");
  EXPECT_EQ(label("filename=plain.jsonl"), "plain.jsonl");
  EXPECT_EQ(label("filename=\"x\"; filename*=UTF-8''na%C3%AFve.jsonl"), "na\xC3\xAFve.jsonl");
  EXPECT_EQ(label("filename=\"\""), "upload");
}

/// PostgreSQL refused such a filename after the upload was stored, so that the client got a 500.
TEST(Multipart, RefusesNamesThatAreNotUtf8) {
  for (const char* bad : {"name=\"file\"; filename=\"\xff.jsonl\"", "name=\"file\"; filename*=UTF-8''%ff.jsonl",
                          "name=\"\xff\""})
    EXPECT_THROW(parse_part_head(std::string("Content-Disposition: form-data; ") + bad), base::ApiError) << bad;
}

TEST(MultipartBoundary, IsReadStrictly) {
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(multipart_boundary("Multipart/Form-Data; charset=utf-8; boundary=\"a b:c\""), "a b:c");
  for (const char* bad : {"multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=a\"b",
                          "multipart/form-data; boundary=\"ends with blank \"", "application/json", "multipart/form-datax; boundary=a"})
    EXPECT_THROW(multipart_boundary(bad), base::ApiError) << bad;
  EXPECT_THROW(multipart_boundary("multipart/form-data; boundary=" + std::string(71, 'a')), base::ApiError);
  EXPECT_THROW(multipart_boundary(std::nullopt), base::ApiError);
}

}  // namespace
}  // namespace finetuned::gateway
