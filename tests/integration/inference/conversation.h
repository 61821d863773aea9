#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "services/inference/wire.h"

namespace finetuned::inference {

/// All that a service said to one request.
struct Reply {
  std::map<std::size_t, std::string> texts;
  std::map<std::size_t, std::vector<ChosenToken>> tokens;
  std::map<std::size_t, FinishReason> finishes;
  std::optional<Done> done;
  std::optional<Failure> failure;
  std::size_t pieces = 0;
};

/// A client of the service, as the gateway is one.
class Conversation {
 public:
  explicit Conversation(const std::filesystem::path& socket) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket.c_str(), sizeof address.sun_path - 1);
    connected_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    EXPECT_TRUE(connected_) << socket << ": " << std::strerror(errno);
    const timeval limit{60, 0};  // rather a failure than a test that hangs
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }

  void send(const std::string& text) {
    for (std::size_t sent = 0; sent < text.size();) {
      const ssize_t done = ::send(socket_.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (done <= 0) return;  // it answered and closed already
      sent += static_cast<std::size_t>(done);
    }
  }

  /// The next line; absent at the connection's end.
  std::optional<AnswerLine> next() {
    std::size_t end = 0;
    while ((end = buffer_.find('\n')) == std::string::npos) {
      char piece[4096];
      const ssize_t got = ::recv(socket_.get(), piece, sizeof piece, 0);
      if (got <= 0) return std::nullopt;
      buffer_.append(piece, static_cast<std::size_t>(got));
    }
    const AnswerLine line = parse_answer(std::string_view(buffer_).substr(0, end));
    buffer_.erase(0, end + 1);
    count(line);
    return line;
  }

  /// All lines to the end.
  Reply rest() {
    Reply reply;
    while (const std::optional<AnswerLine> line = next()) {
      EXPECT_FALSE(reply.done || reply.failure) << "something stands behind the end";
      if (const auto* piece = std::get_if<TextPiece>(&*line)) {
        EXPECT_FALSE(reply.finishes.contains(piece->choice)) << "text behind its choice's end";
        reply.texts[piece->choice] += piece->text;
        for (const ChosenToken& token : piece->tokens) reply.tokens[piece->choice].push_back(token);
        ++reply.pieces;
      } else if (const auto* end = std::get_if<ChoiceEnd>(&*line)) {
        EXPECT_TRUE(reply.finishes.emplace(end->choice, end->finish).second) << "a choice ends twice";
      } else if (const auto* done = std::get_if<Done>(&*line)) {
        reply.done = *done;
      } else if (const auto* failure = std::get_if<Failure>(&*line)) {
        reply.failure = *failure;
      }
    }
    EXPECT_TRUE(reply.done || reply.failure) << "the answer has no end";
    if (reply.done) {
      EXPECT_EQ(begun_.value_or(Begun{-1}).prompt_tokens, reply.done->prompt_tokens);
      EXPECT_EQ(computed_, reply.done->completion_tokens) << "every token stands in a line";
    }
    return reply;
  }

 private:
  /// Of every answer: one Begun before all text, and the tokens that its lines tell.
  void count(const AnswerLine& line) {
    if (const auto* begun = std::get_if<Begun>(&line)) {
      EXPECT_FALSE(begun_) << "it begins twice";
      begun_ = *begun;
    } else if (const auto* piece = std::get_if<TextPiece>(&line)) {
      EXPECT_TRUE(begun_) << "text before a model has begun";
      computed_ += piece->computed;
    } else if (const auto* end = std::get_if<ChoiceEnd>(&line)) {
      computed_ += end->computed;
    }
  }

  base::FileDescriptor socket_;
  bool connected_ = false;
  std::string buffer_;
  std::optional<Begun> begun_;
  std::int64_t computed_ = 0;
};

}  // namespace finetuned::inference
