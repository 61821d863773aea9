#include "trainer/collective/tcp.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "base/errors.h"
#include "base/expects.h"
#include "trainer/collective/socket.h"

namespace finetuned::collective {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

static_assert(std::endian::native == std::endian::little, "numbers go over the wire as they lie in memory");

constexpr std::uint32_t kMagic = 0x434e5446;
constexpr std::uint16_t kVersion = 2;
constexpr std::size_t kMostText = 4096;
constexpr std::size_t kChunkFloats = std::size_t{256} << 10;
constexpr milliseconds kSilence{5000};       // of who comes to the rendezvous
constexpr milliseconds kHelloTimeout{500};   // once it has begun; others wait behind it
constexpr milliseconds kLateComers{2000};    // for those who come to a group that is refused
constexpr milliseconds kLastWords{1000};     // for the message that it is over

enum class Kind : std::uint16_t { kHello = 1, kWelcome, kRefusal, kEnded, kValues, kChunk };

struct Header {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kVersion;
  Kind kind = Kind::kHello;
  std::uint64_t length = 0;
};
static_assert(sizeof(Header) == 16);

Deadline after(milliseconds time) {
  return steady_clock::now() + time;
}

struct Hello {
  std::uint32_t rank = 0;
  std::uint32_t size = 0;
};

void send_message(Socket& to, Kind kind, std::span<const std::byte> data, Deadline deadline) {
  Header header;
  header.kind = kind;
  header.length = data.size();
  to.send(std::as_bytes(std::span(&header, 1)), deadline);
  to.send(data, deadline);
}

void send_text(Socket& to, Kind kind, const std::string& text, Deadline deadline) {
  send_message(to, kind, std::as_bytes(std::span(text.data(), std::min(text.size(), kMostText))), deadline);
}

Header receive_header(Socket& from, Deadline deadline) {
  Header header;
  from.receive(std::as_writable_bytes(std::span(&header, 1)), deadline);
  if (header.magic != kMagic) throw PeerLost("it does not speak this protocol");
  return header;
}

/// For terminals: what is not plain text becomes a question mark.
std::string receive_text(Socket& from, const Header& header, Deadline deadline) {
  if (header.length > kMostText) throw PeerLost("it sent a text that is too long");
  std::string text(header.length, '\0');
  from.receive(std::as_writable_bytes(std::span(text.data(), text.size())), deadline);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

/// A message of this kind, of data.size() bytes, or of none where `or_empty`: then false. What another kind
/// says is thrown.
bool receive_message(Socket& from, Kind kind, std::span<std::byte> data, bool or_empty, Deadline deadline) {
  const Header header = receive_header(from, deadline);
  if (header.kind == Kind::kRefusal) throw base::UsageError(receive_text(from, header, deadline));
  if (header.kind == Kind::kEnded) throw PeerLost(receive_text(from, header, deadline));
  if (or_empty && header.kind == kind && header.length == 0) return false;
  if (header.kind != kind || header.length != data.size())
    throw PeerLost("it sent " + std::to_string(header.length) + " bytes of kind " +
                   std::to_string(static_cast<int>(header.kind)) + " where " + std::to_string(data.size()) +
                   " of kind " + std::to_string(static_cast<int>(kind)) + " were due");
  from.receive(data, deadline);
  return true;
}

/// What a rank says of itself, and the connection that it said it on.
struct Guest {
  Socket connection;
  std::uint16_t version;
  Hello hello;
};

/// Nothing where the connection is none of ours.
std::optional<Guest> meet(Socket connection, Deadline deadline) {
  try {
    Guest guest{std::move(connection), kVersion, {}};
    const Header header = receive_header(guest.connection, deadline);
    guest.version = header.version;
    if (header.kind != Kind::kHello) return std::nullopt;
    if (header.version != kVersion) return guest;
    if (header.length != sizeof(Hello)) return std::nullopt;
    guest.connection.receive(std::as_writable_bytes(std::span(&guest.hello, 1)), deadline);
    return guest;
  } catch (const PeerLost&) {
    return std::nullopt;
  }
}

class Tcp final : public Collective {
 public:
  explicit Tcp(const TcpOptions& options)
      : rank_(options.rank), size_(options.size), timeout_(options.peer_timeout) {
    if (rank_ == 0) {
      host(options);
    } else {
      visit(options);
    }
  }

  /// Where rank 0 ends before the others, for a reason of its own, they learn at least that.
  ~Tcp() override { tell_all(Kind::kEnded, rank_name(0, size_) + " ended; it says why itself"); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  milliseconds timeout() const override { return timeout_; }
  int local_size() const override { return 1; }
  std::size_t shared_bytes() const override { return kChunkFloats * sizeof(float); }

  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    base::expects(mine.size() <= kMostGathered && all.size() == mine.size() * static_cast<std::size_t>(size_),
                  "what is gathered fits");
    guarded([&] {
      if (rank_ == 0) std::copy(mine.begin(), mine.end(), all.begin());
      if (rank_ != 0) send_to(0, Kind::kValues, mine);
      const Deadline until = deadline();
      for (int other = 1; rank_ == 0 && other < size_; ++other)
        receive_from(other, Kind::kValues,
                     all.subspan(static_cast<std::size_t>(other) * mine.size(), mine.size()), false, until);
      share(Kind::kValues, all);
    });
  }

  void sum_in_order(std::span<const std::span<const float>> parts, std::span<float> total) override {
    base::expects(parts.size() <= kMostParts, "a sum has at most 8 parts");
    std::vector<float> running(std::min(kChunkFloats, total.size()));
    guarded([&] {
      for (std::size_t begin = 0; begin < total.size(); begin += kChunkFloats) {
        const std::size_t length = std::min(kChunkFloats, total.size() - begin);
        const std::span<float> chunk(running.data(), length);
        sum_chunk(parts, begin, chunk);
        share(Kind::kChunk, std::as_writable_bytes(chunk));
        std::copy(chunk.begin(), chunk.end(), total.begin() + static_cast<std::ptrdiff_t>(begin));
      }
    });
  }

 private:
  /// On rank 0 the whole sum is in `chunk` in the end; on others, what it was after their parts.
  void sum_chunk(std::span<const std::span<const float>> parts, std::size_t begin, std::span<float> chunk) {
    const auto bytes = std::as_writable_bytes(chunk);
    bool begun = rank_ != 0 && receive_from(0, Kind::kChunk, bytes, true, deadline());
    for (const auto part : parts) {
      add_part(part.subspan(begin, chunk.size()), !begun, chunk);
      begun = true;
    }
    const auto so_far = [&] { return std::span<const std::byte>(bytes).first(begun ? bytes.size() : 0); };
    if (rank_ != 0) return send_to(0, Kind::kChunk, so_far());
    for (int other = 1; other < size_; ++other) {
      send_to(other, Kind::kChunk, so_far());
      begun = receive_from(other, Kind::kChunk, bytes, true, deadline());
    }
    base::expects(begun, "a sum has a part");
  }

  /// Rank 0's `data` to all.
  void share(Kind kind, std::span<std::byte> data) {
    if (rank_ != 0) {
      receive_from(0, kind, data, false, deadline());
      return;
    }
    for (int other = 1; other < size_; ++other)
      send_to(other, kind, data);
  }

  milliseconds patience() const { return rank_ == 0 ? timeout_ : 2 * timeout_; }
  Deadline deadline() const { return after(patience()); }
  Socket& to(int other) { return *peers_[static_cast<std::size_t>(rank_ == 0 ? other - 1 : 0)]; }

  void send_to(int other, Kind kind, std::span<const std::byte> data) {
    awaited(other, [&] {
      if (rank_ != 0) hear_the_end();
      try {
        send_message(to(other), kind, data, deadline());
      } catch (const PeerSilent&) {
        throw;
      } catch (const PeerLost&) {
        if (rank_ != 0) hear_the_end();
        throw;
      }
    });
  }

  bool receive_from(int other, Kind kind, std::span<std::byte> data, bool or_empty, Deadline until) {
    bool some = false;
    awaited(other, [&] {
      watch_others(other, until);
      some = receive_message(to(other), kind, data, or_empty, until);
    });
    return some;
  }

  /// What rank 0 says before it is its turn can only be that the group is over, and why.
  void hear_the_end() {
    if (to(0).has_words()) receive_message(to(0), Kind::kValues, {}, false, after(kLastWords));
  }

  /// While rank 0 waits for one rank it sees that another goes away: all are needed until an operation ends.
  void watch_others(int awaited_rank, Deadline until) {
    if (rank_ != 0) return;
    std::vector<const Socket*> others;
    for (int other = 1; other < size_; ++other)
      if (other != awaited_rank) others.push_back(&to(other));
    const Socket* const gone = wait_for(to(awaited_rank), others, until);
    for (int other = 1; other < size_ && gone; ++other)
      if (gone == &to(other)) throw PeerLost(rank_name(other, size_) + " was lost: it closed the connection");
  }

  /// named(), with the peer timeout as the bound.
  template <class Work>
  void awaited(int other, const Work& work) {
    named(other, [&] {
      try {
        work();
      } catch (const PeerSilent&) {
        throw PeerLost(silence_of(other, size_, patience()));
      }
    });
  }

  /// Says whom a failure is about, unless rank 0 told of another.
  template <class Work>
  void named(int other, const Work& work) {
    try {
      work();
    } catch (const PeerLost& error) {
      const std::string what = error.what();
      if (what.starts_with("rank ")) throw;
      throw PeerLost(rank_name(other, size_) + " was lost: " + what);
    }
  }

  /// Rank 0 tells the others what went wrong.
  template <class Work>
  void guarded(const Work& work) {
    try {
      work();
    } catch (const PeerLost& error) {
      tell_all(Kind::kEnded, error.what());
      throw;
    }
  }

  void tell_all(Kind kind, const std::string& text) {
    if (rank_ != 0) return;
    for (auto& peer : peers_) {
      if (!peer) continue;
      try {
        send_text(*peer, kind, text, after(kLastWords));
      } catch (const PeerLost&) {
        continue;  // it is gone already
      }
    }
  }

  void visit(const TcpOptions& options) {
    const Deadline until = after(options.join_timeout);
    peers_.emplace_back(connect_to(options.rendezvous, until));
    const Hello hello{static_cast<std::uint32_t>(rank_), static_cast<std::uint32_t>(size_)};
    named(0, [&] {
      send_message(*peers_[0], Kind::kHello, std::as_bytes(std::span(&hello, 1)), until);
      // Rank 0 waits as long for the last of us, and began earlier or later.
      receive_message(*peers_[0], Kind::kWelcome, {}, false, until + options.join_timeout);
    });
  }

  void host(const TcpOptions& options) {
    const base::FileDescriptor listener = listen_at(options.rendezvous);
    const Deadline until = after(options.join_timeout);
    peers_.resize(static_cast<std::size_t>(size_ - 1));
    WaitingRoom waiting(listener, kSilence);
    while (vacancies() > 0) {
      std::optional<Socket> connection = waiting.next(until);
      if (!connection) refuse_late(options);
      std::optional<Guest> guest = meet(std::move(*connection), std::min(until, after(kHelloTimeout)));
      if (!guest) continue;
      const int missing = vacancies();
      const std::string fault = fault_of(*guest);
      if (!fault.empty()) refuse(waiting, *guest, fault, missing - 1);
      peers_[guest->hello.rank - 1] = std::move(guest->connection);
    }
    for (int other = 1; other < size_; ++other)
      send_to(other, Kind::kWelcome, {});
  }

  std::string fault_of(const Guest& guest) const {
    if (guest.version != kVersion) return "a rank came whose program speaks another version of the protocol";
    const std::string who = "rank " + std::to_string(guest.hello.rank);
    if (guest.hello.size != static_cast<std::uint32_t>(size_))
      return who + " is of a world of " + std::to_string(guest.hello.size) + " ranks, rank 0 of one of " +
             std::to_string(size_) + "; give all of them the same world size";
    if (guest.hello.rank < 1 || guest.hello.rank >= static_cast<std::uint32_t>(size_))
      return who + " is none of a world of " + std::to_string(size_);
    return peers_[guest.hello.rank - 1] ? who + " came twice; give each process a rank of its own" : "";
  }

  /// How many are missing, those who came and went away again among them.
  int vacancies() {
    int missing = 0;
    for (std::optional<Socket>& seat : peers_) {
      if (seat && seat->closed()) seat.reset();
      missing += seat ? 0 : 1;
    }
    return missing;
  }

  /// Tells the guest, those who came before, and for a while those who come after, who would else knock in
  /// vain.
  [[noreturn]] void refuse(WaitingRoom& waiting, Guest& first, const std::string& fault, int missing) {
    const auto tell = [&fault](Socket& connection) {
      try {
        send_text(connection, Kind::kRefusal, fault, after(kLastWords));
      } catch (const PeerLost&) {
        return;  // rank 0 says it anyhow
      }
    };
    tell(first.connection);
    tell_all(Kind::kRefusal, fault);
    const Deadline until = after(kLateComers);
    for (; missing > 0; --missing) {
      std::optional<Socket> connection = waiting.next(until);
      if (!connection) break;
      std::optional<Guest> guest = meet(std::move(*connection), std::min(until, after(kHelloTimeout)));
      if (guest) tell(guest->connection);
    }
    throw base::UsageError(fault);
  }

  [[noreturn]] void refuse_late(const TcpOptions& options) {
    std::string missing;
    for (int other = 1; other < size_; ++other)
      if (!peers_[static_cast<std::size_t>(other - 1)])
        missing += (missing.empty() ? "" : ", ") + std::to_string(other);
    const std::string text = "rank " + missing + " of " + std::to_string(size_) + " did not come to " +
                             to_text(options.rendezvous) + " within " +
                             std::to_string(options.join_timeout.count() / 1000.0).substr(0, 5) + " s";
    tell_all(Kind::kEnded, text);
    throw PeerLost(text);
  }

  int rank_;
  int size_;
  milliseconds timeout_;
  std::vector<std::optional<Socket>> peers_;  // of rank 0: rank 1, 2, ...; of others: rank 0
};

}  // namespace

std::unique_ptr<Collective> join(const TcpOptions& options) {
  base::expects(
      options.size >= 2 && options.size <= kMostRanks && options.rank >= 0 && options.rank < options.size,
      "a rank is of a world of 2 to 8");
  return std::make_unique<Tcp>(options);
}

}  // namespace finetuned::collective
