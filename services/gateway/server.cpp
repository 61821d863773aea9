#include "services/gateway/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/errors.h"
#include "base/log.h"
#include "services/gateway/render.h"
#include "services/gateway/request_ids.h"

namespace finetuned::gateway {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::chrono::milliseconds kAfterAcceptError{100};  // out of descriptors, mostly: some will be freed
constexpr std::chrono::milliseconds kAfterClosing{2000};     // for coroutines to see that their socket is closed
constexpr std::chrono::milliseconds kAfterOurs{2000};  // the kernel's limit ends so much later than ours

/// What a client does not take, the kernel keeps after the socket is closed, megabytes of it as long as the client only
/// says that it has no room. It shall give up when the connection has.
void limit_unread(tcp::socket& socket, std::chrono::milliseconds limit) {
  const auto ms = static_cast<unsigned>(limit.count());
  ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

/// The answer to a connection beyond the limit.
std::string full_answer() {
  Response response = render_error(base::ApiError(503, "server_error", "overloaded",
                                                  "Too many connections; try again shortly.", std::nullopt, true));
  AnswerContext context;
  context.request_id = make_request_id();
  context.keep_alive = false;
  return render_head(response, context) + response.body;
}

tcp::endpoint endpoint_of(const std::string& address, int port) {
  error_code ec;
  const auto parsed = asio::ip::make_address(address, ec);
  if (ec) throw base::UsageError("gateway.address: " + address + " is not an IP address");
  return {parsed, static_cast<std::uint16_t>(port)};
}

}  // namespace

Server::Server(SocketThreads& threads, Door& door, const std::string& address, int port, std::size_t most_connections)
    : threads_(threads), door_(door), acceptor_(threads.next()), most_connections_(most_connections) {
  const auto endpoint = endpoint_of(address, port);
  try {
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen(4096);
    port_ = acceptor_.local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    throw base::UsageError("the gateway cannot listen on " + address + ":" + std::to_string(port) + ": " +
                           error.code().message());
  }
}

void Server::start() { asio::co_spawn(acceptor_.get_executor(), accept(), asio::detached); }

asio::awaitable<void> Server::accept() {
  while (acceptor_.is_open()) {
    error_code ec;
    tcp::socket socket(threads_.next());
    co_await acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, ec));
    if (!acceptor_.is_open()) co_return;
    if (!ec) {
      welcome(std::move(socket));
      continue;
    }
    base::log_warn("a connection could not be accepted", {{"error", ec.message()}});
    asio::steady_timer pause(acceptor_.get_executor(), kAfterAcceptError);
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
}

void Server::welcome(tcp::socket socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  limit_unread(socket, door_.limits.request + kAfterOurs);
  std::unique_lock lock(mutex_);
  if (connections_.size() >= most_connections_) {
    lock.unlock();
    if (door_.tls) return;  // an answer would take a handshake
    socket.non_blocking(true, ignored);
    const std::string answer = full_answer();
    socket.write_some(asio::buffer(answer), ignored);
    return;
  }
  const auto executor = socket.get_executor();
  auto connection = std::make_shared<Connection>(std::move(socket), door_);
  connections_.emplace(connection.get(), connection);
  lock.unlock();
  asio::co_spawn(executor, serve(std::move(connection)), asio::detached);
}

asio::awaitable<void> Server::serve(std::shared_ptr<Connection> connection) {
  co_await connection->serve();
  const std::lock_guard lock(mutex_);
  connections_.erase(connection.get());
  if (connections_.empty()) empty_.notify_all();
}

bool Server::wait_until_empty(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return empty_.wait_for(lock, patience, [this] { return connections_.empty(); });
}

bool Server::drain(std::chrono::milliseconds patience) {
  door_.draining = true;
  asio::post(acceptor_.get_executor(), [this] {
    error_code ignored;
    acceptor_.close(ignored);
  });
  const auto each = [this](void (Connection::*close)()) {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, weak] : connections_)
      if (const auto connection = weak.lock()) (connection.get()->*close)();
  };
  each(&Connection::close_if_idle);
  if (wait_until_empty(patience)) return true;
  each(&Connection::close_now);
  wait_until_empty(kAfterClosing);
  return false;
}

}  // namespace finetuned::gateway
