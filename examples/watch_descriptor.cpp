#include <ferry/ferry.hpp>
#include <ferry/format.hpp>  // fmt formatters for Address, Error …

#include <array>

int main() {
  auto [rsock, wsock] = ferry::socketpair();
  ferry::Loop loop;

  loop.add_reader(rsock.fileno(), [&loop, &rsock] {
    std::array<std::byte, 100> buffer;
    const std::size_t count = rsock.recv(buffer);
    fmt::print("Received: {}\n", ferry::BytesView{buffer.data(), count}.text());
    loop.remove_reader(rsock.fileno());  // we are done
    loop.stop();
  });

  loop.call_soon([&wsock] { wsock.send("abc"); });  // simulate data from the network
  loop.run_forever();
}  // the sockets and the loop close themselves
