#include "services/gateway/tls_session.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/expects.h"
#include "services/gateway/tls_context.h"

namespace finetuned::gateway {

/// What OpenSSL takes for its transport: reads `arrived_`, appends to `outgoing_`.
struct TlsPipe {
  static int read(BIO* bio, char* into, std::size_t room, std::size_t* got) {
    std::string_view& arrived = static_cast<TlsSession*>(BIO_get_data(bio))->arrived_;
    BIO_clear_retry_flags(bio);
    *got = std::min(room, arrived.size());
    if (*got == 0) {
      BIO_set_retry_read(bio);
      return 0;
    }
    std::memcpy(into, arrived.data(), *got);
    arrived.remove_prefix(*got);
    return 1;
  }

  static int write(BIO* bio, const char* bytes, std::size_t size, std::size_t* taken) {
    static_cast<TlsSession*>(BIO_get_data(bio))->outgoing_.append(bytes, size);
    *taken = size;
    return 1;
  }

  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static const BIO_METHOD* method() {
    static const std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)> method = [] {
      std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)> made(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tls session"),
                                                                 &BIO_meth_free);
      base::expects(made && BIO_meth_set_read_ex(made.get(), &read) == 1 && BIO_meth_set_write_ex(made.get(), &write) == 1 &&
                        BIO_meth_set_ctrl(made.get(), &control) == 1,
                    "OpenSSL takes a transport of ours");
      return made;
    }();
    return method.get();
  }
};

TlsSession::TlsSession(const TlsContext& context) : ssl_(context.new_connection(), &SSL_free) {
  BIO* const bio = BIO_new(TlsPipe::method());
  if (!bio) throw std::bad_alloc();
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);  // which owns it now
}

TlsSession::~TlsSession() = default;

TlsSession::Step TlsSession::step_of(int result, std::string_view arrived) {
  Step step;
  step.used = arrived.size() - arrived_.size();
  arrived_ = {};
  if (result == 1) {
    step.outcome = Outcome::kDone;
    return step;
  }
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      step.outcome = Outcome::kWantsMore;
      return step;
    case SSL_ERROR_ZERO_RETURN:
      step.outcome = Outcome::kEnded;
      return step;
    default: {
      const char* reason = ERR_reason_error_string(ERR_peek_last_error());
      fault_ = reason ? reason : "unknown";
      ERR_clear_error();
      return step;
    }
  }
}

TlsSession::Step TlsSession::shake_hands(std::string_view arrived) {
  arrived_ = arrived;
  ERR_clear_error();
  return step_of(SSL_do_handshake(ssl_.get()), arrived);
}

TlsSession::Step TlsSession::read(std::string_view arrived, char* into, std::size_t room) {
  arrived_ = arrived;
  ERR_clear_error();
  std::size_t written = 0, got = 0;
  int result = 1;
  while (written < room && (result = SSL_read_ex(ssl_.get(), into + written, room - written, &got)) == 1) written += got;
  Step step = step_of(result, arrived);
  if (written > 0) step.outcome = Outcome::kDone;  // what stopped it is met again by the next call
  step.written = written;
  return step;
}

TlsSession::Step TlsSession::look(std::string_view arrived) {
  arrived_ = arrived;
  ERR_clear_error();
  char byte = 0;
  std::size_t got = 0;
  return step_of(SSL_peek_ex(ssl_.get(), &byte, 1, &got), arrived);
}

bool TlsSession::write(std::string_view plain) {
  if (plain.empty()) return true;
  ERR_clear_error();
  std::size_t taken = 0;
  const Step step = step_of(SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &taken), {});
  return step.outcome == Outcome::kDone && taken == plain.size();
}

void TlsSession::end() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

}  // namespace finetuned::gateway
