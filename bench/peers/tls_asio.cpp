// Asio's ssl::stream: one object per connection, async_read_some and async_write; one thread, so
// without locks.
#include <asio.hpp>
#include <asio/ssl.hpp>

#include <memory>
#include <string>
#include <utility>

#include "server.hpp"
#include "tls_context.hpp"

namespace {

using asio::ip::tcp;

class Connection {
 public:
  Connection(tcp::socket socket, asio::ssl::context& context, bool sink)
      : stream_{std::move(socket), context}, sink_{sink}, buffer_{new char[bench::chunk]} {}

  void start() {
    stream_.async_handshake(asio::ssl::stream_base::server, [this](asio::error_code error) {
      if (error)
        delete this;
      else
        read();
    });
  }

 private:
  void read() {
    stream_.async_read_some(asio::buffer(buffer_.get(), bench::chunk),
                            [this](asio::error_code error, std::size_t n) {
                              if (error)
                                delete this;
                              else if (sink_)
                                read();
                              else
                                write(n);
                            });
  }
  void write(std::size_t n) {
    asio::async_write(stream_, asio::buffer(buffer_.get(), n),
                      [this](asio::error_code error, std::size_t) {
                        if (error)
                          delete this;
                        else
                          read();
                      });
  }

  asio::ssl::stream<tcp::socket> stream_;
  bool sink_;
  std::unique_ptr<char[]> buffer_;
};

class Server {
 public:
  Server(asio::io_context& context, const bench::Arguments& arguments)
      : sink_{arguments.mode == bench::Mode::sink},
        tls_{bench::server_context()},
        acceptor_{context} {
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
        (new Connection{std::move(socket), tls_, sink_})->start();
      }
      accept();
    });
  }

 private:
  bool sink_;
  asio::ssl::context tls_;
  tcp::acceptor acceptor_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string version = bench::with_openssl("Asio " + std::to_string(ASIO_VERSION / 100000) +
                                                  "." + std::to_string(ASIO_VERSION / 100 % 1000) +
                                                  "." + std::to_string(ASIO_VERSION % 100));
  const auto arguments = bench::parse(argc, argv, version.c_str(), {}, bench::Serves::tls);
  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  Server server{context, arguments};
  server.accept();
  bench::ready();
  context.run();
}
