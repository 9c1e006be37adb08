// Asio, standalone: one object per connection, async_read_some and async_write; one thread,
// so without locks. Datagrams: async_receive_from, then whatever else is there without waiting.
#include <asio.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "listen.hpp"

namespace {

using asio::ip::tcp;
using asio::ip::udp;
using Buffer = std::unique_ptr<char[]>;

class Connection {
 public:
  Connection(tcp::socket socket, bool sink)
      : socket_{std::move(socket)}, sink_{sink}, buffer_{new char[bench::chunk]} {}

  void read() {
    socket_.async_read_some(asio::buffer(buffer_.get(), bench::chunk),
                            [this](asio::error_code error, std::size_t n) {
                              if (error)
                                delete this;
                              else if (sink_)
                                read();
                              else
                                write(n);
                            });
  }

 private:
  void write(std::size_t n) {
    asio::async_write(socket_, asio::buffer(buffer_.get(), n),
                      [this](asio::error_code error, std::size_t) {
                        if (error)
                          delete this;
                        else
                          read();
                      });
  }

  tcp::socket socket_;
  bool sink_;
  Buffer buffer_;
};

// Mode split with the usual queue: one async_write at a time, and what was queued meanwhile goes
// out gathered in the next one. It reads on only when all is out.
class SplitConnection {
 public:
  explicit SplitConnection(tcp::socket socket)
      : socket_{std::move(socket)}, buffer_{new char[bench::chunk]} {}

  void read() {
    socket_.async_read_some(asio::buffer(buffer_.get(), bench::chunk),
                            [this](asio::error_code error, std::size_t n) { on_read(error, n); });
  }

 private:
  void on_read(asio::error_code error, std::size_t n) {
    if (error) return delete this;  // it reads only while nothing is being written
    for (std::size_t i = 0; i < n; i += bench::message)
      write(std::string(buffer_.get() + i, std::min(bench::message, n - i)));
  }
  void write(std::string text) {
    queue_.push_back(std::move(text));
    if (in_flight_.empty()) flush();
  }
  void flush() {
    in_flight_.swap(queue_);
    views_.clear();
    for (const std::string& text : in_flight_) views_.push_back(asio::buffer(text));
    asio::async_write(socket_, views_, [this](asio::error_code error, std::size_t) {
      in_flight_.clear();
      if (error)
        delete this;
      else if (!queue_.empty())
        flush();
      else
        read();
    });
  }

  tcp::socket socket_;
  Buffer buffer_;
  std::vector<std::string> queue_, in_flight_;
  std::vector<asio::const_buffer> views_;
};

class Server {
 public:
  Server(asio::io_context& context, const bench::Arguments& arguments)
      : mode_{arguments.mode}, acceptor_{context} {
    const tcp::endpoint endpoint{asio::ip::address_v4::loopback(), arguments.port};
    acceptor_.open(tcp::v4());
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen(bench::backlog);
  }

  void accept() {
    acceptor_.async_accept([this](asio::error_code error, tcp::socket socket) {
      if (!error) {
        socket.set_option(tcp::no_delay(true), error);
        if (mode_ == bench::Mode::split)
          (new SplitConnection{std::move(socket)})->read();
        else
          (new Connection{std::move(socket), mode_ == bench::Mode::sink})->read();
      }
      accept();
    });
  }

 private:
  bench::Mode mode_;
  tcp::acceptor acceptor_;
};

class Datagrams {
 public:
  Datagrams(asio::io_context& context, std::uint16_t port)
      : socket_{context, udp::endpoint{asio::ip::address_v4::loopback(), port}},
        buffer_{new char[bench::chunk]} {
    bench::set_datagram_buffers(socket_.native_handle());
    socket_.non_blocking(true);
  }

  void receive() {
    socket_.async_receive_from(asio::buffer(buffer_.get(), bench::chunk), from_,
                               [this](asio::error_code error, std::size_t n) {
                                 if (!error) answer_all(n);
                                 receive();
                               });
  }

 private:
  void answer_all(std::size_t n) {
    asio::error_code none_left;
    while (!none_left) {
      answer(n);
      n = socket_.receive_from(asio::buffer(buffer_.get(), bench::chunk), from_, 0, none_left);
    }
  }
  void answer(std::size_t n) {
    asio::error_code error;
    do {
      socket_.send_to(asio::buffer(buffer_.get(), n), from_, 0, error);
      if (error == asio::error::would_block) socket_.wait(udp::socket::wait_write);
    } while (error == asio::error::would_block);
  }

  udp::socket socket_;
  udp::endpoint from_;
  Buffer buffer_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string version = "Asio " + std::to_string(ASIO_VERSION / 100000) + "." +
                              std::to_string(ASIO_VERSION / 100 % 1000) + "." +
                              std::to_string(ASIO_VERSION % 100);
  const auto arguments =
      bench::parse(argc, argv, version.c_str(), {}, bench::Serves::plain, {bench::Mode::udp});
  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  if (arguments.mode == bench::Mode::udp) {
    Datagrams datagrams{context, arguments.port};
    datagrams.receive();
    bench::ready();
    context.run();
    return 0;
  }
  Server server{context, arguments};
  server.accept();
  bench::ready();
  context.run();
}
