#include "tests/integration/gateway/http_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace finetuned::tests {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

namespace {

constexpr milliseconds kPatience{10'000};

}  // namespace

std::string Answer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string Answer::error_field(const char* name) const {
  const auto parsed = json();
  const auto* error = parsed.as_object().if_contains("error");
  if (!error || !error->is_object()) return "no error";
  const auto* field = error->as_object().if_contains(name);
  if (!field) return "absent";
  return field->is_string() ? std::string(field->as_string()) : "";
}

std::string text(const base::json::value& value) {
  return value.is_string() ? std::string(value.as_string()) : std::string();
}

Wire::Wire(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("cannot connect to the gateway");
}

bool Wire::send(const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t done = put(bytes.data() + sent, bytes.size() - sent);
    if (done <= 0) return false;
    sent += static_cast<std::size_t>(done);
  }
  return true;
}

ssize_t Wire::put(const char* bytes, std::size_t size) { return ::send(socket_.get(), bytes, size, MSG_NOSIGNAL); }
ssize_t Wire::get(char* into, std::size_t room) { return ::recv(socket_.get(), into, room, 0); }

bool Wire::fill(milliseconds patience) {
  pollfd ready{socket_.get(), POLLIN, 0};
  if (!has_bytes_at_hand() && ::poll(&ready, 1, static_cast<int>(patience.count())) <= 0) throw std::runtime_error("the gateway sent nothing in time");
  char piece[65536];
  const ssize_t got = get(piece, sizeof piece);
  if (got <= 0) return false;
  buffer_.append(piece, static_cast<std::size_t>(got));
  return true;
}

std::string Wire::read_until(const std::string& marker) {
  std::size_t at = 0;
  while ((at = buffer_.find(marker)) == std::string::npos)
    if (!fill(kPatience)) return "";
  const std::string read = buffer_.substr(0, at + marker.size());
  buffer_.erase(0, read.size());
  return read;
}

void Wire::end_sending() { ::shutdown(socket_.get(), SHUT_WR); }

std::string Wire::read_to_end() {
  while (fill(kPatience)) {
  }
  return std::exchange(buffer_, {});
}

std::optional<Answer> Wire::read(bool without_body) {
  std::size_t end = 0;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos)
    if (!fill(kPatience)) return std::nullopt;
  Answer answer;
  answer.status = std::stoi(buffer_.substr(9, 3));
  std::size_t at = buffer_.find("\r\n") + 2;
  while (at < end + 2) {
    const std::size_t line_end = buffer_.find("\r\n", at);
    const std::size_t colon = buffer_.find(": ", at);
    answer.headers[buffer_.substr(at, colon - at)] = buffer_.substr(colon + 2, line_end - colon - 2);
    at = line_end + 2;
  }
  buffer_.erase(0, end + 4);
  const std::string length = answer.header("content-length");
  const std::size_t size = length.empty() || without_body ? 0 : std::stoul(length);
  while (buffer_.size() < size)
    if (!fill(kPatience)) return std::nullopt;
  answer.body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return answer;
}

bool Wire::closes_within(milliseconds patience) {
  const auto deadline = Steady::now() + patience;
  try {
    while (fill(std::chrono::duration_cast<milliseconds>(deadline - Steady::now()))) buffer_.clear();
  } catch (const std::runtime_error&) {
    return false;
  }
  return true;
}

void Wire::close() { socket_ = base::FileDescriptor(); }

std::string to_bytes(const Call& request) {
  std::string text = request.method + " " + request.path + " HTTP/1.1\r\nHost: test\r\n";
  if (!request.key.empty()) text += "Authorization: Bearer " + request.key + "\r\n";
  if (!request.body.empty()) text += "Content-Type: " + request.content_type + "\r\n";
  if (!request.body.empty() || request.method == "POST") text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  for (const std::string& line : request.headers) text += line + "\r\n";
  return text + "\r\n" + request.body;
}

Answer call(std::uint16_t port, const Call& request) {
  Wire wire(port);
  wire.send(to_bytes(request));
  const auto answer = wire.read();
  EXPECT_TRUE(answer) << request.method << " " << request.path << " got no answer";
  return answer.value_or(Answer{});
}

std::string file_part(const std::string& filename, const std::string& content) {
  return "Content-Disposition: form-data; name=\"file\"; filename=\"" + filename +
         "\"\r\nContent-Type: application/octet-stream\r\n\r\n" + content;
}

std::string field_part(const std::string& name, const std::string& value) {
  return "Content-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value;
}

std::string multipart(const std::vector<std::string>& parts) {
  std::string body;
  for (const std::string& part : parts) body += "--cut\r\n" + part + "\r\n";
  return body + "--cut--\r\n";
}

}  // namespace finetuned::tests
