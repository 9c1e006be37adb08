// Raw epoll with OpenSSL: what TLS can reach when nothing else is in the way. A BIO of its own
// reads straight from the receive buffer and appends straight to the send buffer; what an event
// brings is one recv, and all that it answers is one send.
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "listen.hpp"
#include "tls_context.hpp"

namespace {

constexpr std::size_t most_plaintext = 16384;  // of a record

// Where OpenSSL reads and writes during an event; the connections share it.
struct Wire {
  std::string_view incoming;
  std::vector<char> outgoing;
  std::size_t out = 0;  // so much of it
};
Wire wire;

int read_wire(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  if (wire.incoming.empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const std::size_t n = std::min(static_cast<std::size_t>(size), wire.incoming.size());
  std::memcpy(into, wire.incoming.data(), n);
  wire.incoming.remove_prefix(n);
  return static_cast<int>(n);
}

int write_wire(BIO*, const char* from, int size) {
  const auto n = static_cast<std::size_t>(size);
  if (wire.out + n > wire.outgoing.size()) wire.outgoing.resize((wire.out + n) * 2);
  std::memcpy(wire.outgoing.data() + wire.out, from, n);
  wire.out += n;
  return size;
}

long control_wire(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

BIO* make_wire_bio() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
    BIO_meth_set_read(made, read_wire);
    BIO_meth_set_write(made, write_wire);
    BIO_meth_set_ctrl(made, control_wire);
    return made;
  }();
  BIO* bio = BIO_new(method);
  BIO_set_init(bio, 1);
  return bio;
}

struct Connection {
  int fd;
  SSL* ssl;
  bool dead = false;
  std::vector<char> unsent;  // what a full socket refused; nothing is read until it is out
  std::size_t unsent_from = 0;
};

class Server {
 public:
  explicit Server(const bench::Arguments& arguments);
  [[noreturn]] void run();

 private:
  void accept_all();
  void serve(Connection& c, std::uint32_t events);
  bool decrypt(Connection& c);
  bool encrypt(Connection& c, int size);
  bool send_answers(Connection& c);
  bool flush(Connection& c);
  void destroy(Connection& c);

  bool sink_;
  SSL_CTX* context_;
  int epoll_, listener_;
  std::vector<std::unique_ptr<Connection>> dead_;  // freed after the batch that may still name them
  char ciphertext_[bench::chunk];
  char plaintext_[most_plaintext];
};

Server::Server(const bench::Arguments& arguments)
    : sink_{arguments.mode == bench::Mode::sink},
      context_{bench::server_context()},
      epoll_{epoll_create1(EPOLL_CLOEXEC)},
      listener_{bench::listen_tcp(arguments.port)} {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) bench::fail("epoll_ctl");
}

void Server::run() {
  epoll_event events[512];
  for (;;) {
    const int n = epoll_wait(epoll_, events, 512, -1);
    for (int i = 0; i < n; ++i) {
      auto* c = static_cast<Connection*>(events[i].data.ptr);
      if (c == nullptr)
        accept_all();
      else if (!c->dead)
        serve(*c, events[i].events);
    }
    dead_.clear();
  }
}

void Server::accept_all() {
  for (;;) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    auto* c = new Connection{fd, SSL_new(context_), false, {}, 0};
    BIO* bio = make_wire_bio();
    SSL_set_bio(c->ssl, bio, bio);
    SSL_set_accept_state(c->ssl);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = c;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) bench::fail("epoll_ctl");
  }
}

void Server::serve(Connection& c, std::uint32_t events) {
  if (!c.unsent.empty()) {
    if (!flush(c)) return;
    events |= EPOLLRDHUP;  // the end may have come while we were not reading: read until EAGAIN
  }
  const std::uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
  for (;;) {
    const ssize_t n = recv(c.fd, ciphertext_, sizeof ciphertext_, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return destroy(c);
    const auto size = static_cast<std::size_t>(n);
    wire.incoming = {ciphertext_, size};
    wire.out = 0;
    const bool open = decrypt(c);
    if (!send_answers(c)) return;
    if (!open) return destroy(c);
    if (size < sizeof ciphertext_ && (events & ended) == 0) return;
  }
}

// False when the stream has ended.
bool Server::decrypt(Connection& c) {
  for (;;) {
    const int n = SSL_read(c.ssl, plaintext_, sizeof plaintext_);
    if (n > 0 && (sink_ || encrypt(c, n))) continue;
    if (n <= 0 && bench::may_go_on(c.ssl, n)) return true;
    if (n <= 0 && (SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN) != 0) SSL_shutdown(c.ssl);
    ERR_clear_error();
    return false;
  }
}

bool Server::encrypt(Connection& c, int size) { return SSL_write(c.ssl, plaintext_, size) == size; }

// False when the connection is to be left alone: full, or gone.
bool Server::send_answers(Connection& c) {
  std::size_t done = 0;
  while (done < wire.out) {
    const ssize_t n = send(c.fd, wire.outgoing.data() + done, wire.out - done, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
      destroy(c);
      return false;
    }
    if (n < 0) break;
    done += static_cast<std::size_t>(n);
  }
  if (done == wire.out) return true;
  c.unsent.assign(wire.outgoing.data() + done, wire.outgoing.data() + wire.out);
  c.unsent_from = 0;
  return false;
}

// True when all is out.
bool Server::flush(Connection& c) {
  while (c.unsent_from < c.unsent.size()) {
    const ssize_t n =
        send(c.fd, c.unsent.data() + c.unsent_from, c.unsent.size() - c.unsent_from, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) destroy(c);
      return false;
    }
    c.unsent_from += static_cast<std::size_t>(n);
  }
  std::vector<char>{}.swap(c.unsent);
  return true;
}

void Server::destroy(Connection& c) {
  c.dead = true;
  close(c.fd);
  SSL_free(c.ssl);
  dead_.emplace_back(&c);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string version = bench::with_openssl("raw epoll");
  const auto arguments = bench::parse(argc, argv, version.c_str(), {}, bench::Serves::tls);
  static Server server{arguments};
  bench::ready();
  server.run();
}
