// Socket and SocketView: handles owned and borrowed.
#include "support/calls.hpp"
#include "support/sockets.hpp"

#include <array>
#include <csignal>
#include <type_traits>
#include <utility>

using namespace test;
using Catch::Matchers::Contains;
using ferry::Socket;
using ferry::SocketView;

static_assert(!std::is_copy_constructible_v<Socket> && !std::is_copy_assignable_v<Socket>);
static_assert(std::is_nothrow_move_constructible_v<Socket> &&
              std::is_nothrow_move_assignable_v<Socket>);
static_assert(std::is_trivially_copyable_v<SocketView>);

namespace {

std::string receive(const Socket& socket, std::size_t most = 100) {
  std::string text(most, '\0');
  text.resize(socket.recv(std::as_writable_bytes(std::span{text})));
  return text;
}

}  // namespace

TEST_CASE("a socket owns its handle and closes it once", "[S-092]") {
  const std::size_t before = open_descriptors();
  Calls calls;
  {
    auto [a, b] = ferry::socketpair();
    const ferry::NativeHandle handle = a.fileno();
    CHECK(a);
    Socket c = std::move(a);
    CHECK(c.fileno() == handle);
    Socket d;
    CHECK_FALSE(d);
    d = std::move(c);
    CHECK(d.fileno() == handle);
    CHECK_FALSE(c);  // NOLINT: moved from is empty
    Socket& alias = d;
    d = std::move(alias);
    CHECK(d.fileno() == handle);
    CHECK(is_open(handle));
    d = std::move(b);  // the former one is closed
    CHECK_FALSE(is_open(handle));
    CHECK(calls.count(Call::close) == 1);
    d.close();
    d.close();
    CHECK_FALSE(d);
  }
  CHECK(calls.count(Call::close) == 2);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a handle that is given away is not closed") {
  auto [a, b] = ferry::socketpair();
  const ferry::NativeHandle handle = a.detach();
  CHECK_FALSE(a);
  a.close();
  CHECK(is_open(handle));
  const Socket again{handle};
}

TEST_CASE("close is never called again when it is interrupted") {
  Calls calls;
  auto [a, b] = ferry::socketpair();
  const auto handle = a.fileno();
  calls.fail(Call::close, EINTR);
  a.close();
  CHECK(calls.count(Call::close) == 1);
  close_plainly(handle);  // the hook kept it open
}

TEST_CASE("a pair carries bytes both ways, and an end", "[S-092]") {
  auto [a, b] = ferry::socketpair();
  CHECK(a.send("hello") == 5);
  CHECK(receive(b, 3) == "hel");
  CHECK(receive(b) == "lo");
  CHECK(b.send("there") == 5);
  CHECK(receive(a) == "there");
  if (has_unix_pairs()) CHECK_FALSE(a.view().getpeername());  // unnamed, both
  b.close();
  CHECK(receive(a).empty());
}

TEST_CASE("sockets of a pair are not inherited", "[S-092]") {
  const auto [a, b] = ferry::socketpair();
  for (const Socket* socket : {&a, &b}) {
    CHECK_FALSE(is_inherited(socket->fileno()));
  }
}

TEST_CASE("errors of a socket throw, and say what failed") {
  auto [a, b] = ferry::socketpair();
  const std::error_code closed = std::make_error_code(error_of_closed());
  CHECK(thrown_by<ferry::OsError>([] { return Socket{}.send("x"); }) ==
        ferry::Error(closed, "send on socket -1").what());
  CHECK(thrown_by<ferry::OsError>([] { return receive(Socket{}); }) ==
        ferry::Error(closed, "receive on socket -1").what());
  hang_up(b);
  try {
    for (int i = 0; i < 1000; ++i) a.send("x");  // and no SIGPIPE
    FAIL("it was sent");
  } catch (const ferry::OsError& error) {
    const bool pair = has_unix_pairs();
    CHECK(error.code() == (pair ? std::errc::broken_pipe : std::errc::connection_reset));
  }
  Calls calls;
  calls.fail(Call::socketpair, EMFILE);
  CHECK(thrown_by<ferry::OsError>([] { return ferry::socketpair().first.fileno(); }) ==
        "make a socket pair: too many open files");
}

TEST_CASE("a socket that does not block says that it would") {
  const auto [a, b] = ferry::socketpair();
  set_nonblocking(a.fileno());
  try {
    receive(a);
    FAIL("it received");
  } catch (const ferry::OsError& error) {
    const auto& code = error.code();
    CHECK((code == std::errc::operation_would_block ||
           code == std::errc::resource_unavailable_try_again));
  }
}

TEST_CASE("a view knows names and options, and owns nothing", "[S-012]") {
  const Socket listener = listening_socket();
  const Socket client = new_socket(ferry::Family::ipv4);
  REQUIRE(try_connect(client, listener.view().getsockname()) == 0);
  {
    const SocketView view = client.view();
    CHECK(view);
    CHECK(view.fileno() == client.fileno());
    CHECK(view.getpeername() == listener.view().getsockname());
    CHECK(view.getsockname().host() == "127.0.0.1");
    view.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
    CHECK(view.getsockopt(SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(thrown_by<ferry::OsError>([&] { return view.getsockopt(SOL_SOCKET, 9999); }) ==
          "get socket option 9999: protocol not available");
    CHECK_THROWS_AS(view.setsockopt(SOL_SOCKET, 9999, 1), ferry::OsError);
  }
  CHECK(is_open(client.fileno()));
  CHECK_FALSE(listener.view().getpeername());
  const SocketView none;
  CHECK_FALSE(none);
  CHECK_FALSE(none.getsockname());
  CHECK_FALSE(none.getpeername());
  CHECK_THROWS_AS(none.getsockopt(SOL_SOCKET, SO_KEEPALIVE), ferry::OsError);
}
