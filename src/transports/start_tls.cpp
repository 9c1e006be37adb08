// start_tls()
#include "protocols/veil.hpp"
#include "transports/ssl_spec.hpp"
#include "transports/stream_transport.hpp"

#include <ferry/loop.hpp>

#include <stdexcept>

namespace ferry {
namespace internal {
namespace {

// If nobody waits any more before it is done, nobody knows what is protected and what is not.
struct Upgrade {
  Upgrade(std::shared_ptr<StreamTransport> upgraded, Future<void> until)
      : transport{std::move(upgraded)}, done{std::move(until)} {}
  Upgrade(Upgrade&&) noexcept = default;
  ~Upgrade() {
    if (transport && (!done.done() || done.cancelled())) transport->give_up();
  }
  std::shared_ptr<StreamTransport> transport;
  Future<void> done;
};

Task<void> wait_for(Upgrade upgrade) { co_await upgrade.done; }

}  // namespace
}  // namespace internal

Task<void> Loop::start_tls(Transport& transport, const SslContext& context,
                           StartTlsOptions options) {
  core_->check_usable("start_tls");
  core_->check_thread("start_tls");
  Transport* real = &transport;
  if (auto* const veil = dynamic_cast<internal::Veil*>(real)) {
    real = veil->behind();
    if (real == nullptr) throw MisuseError{"start_tls: the connection is lost"};
  }
  auto* const stream = dynamic_cast<internal::StreamTransport*>(real);
  if (stream == nullptr || !stream->belongs_to(*core_)) {
    throw std::invalid_argument{"start_tls: the transport is no stream of this loop's"};
  }
  if (!stream->self()) throw MisuseError{"start_tls: the connection is lost"};
  std::shared_ptr<internal::StreamTransport> alive{stream->self(), stream};
  const internal::SslRequest request{"start_tls",
                                     &context,
                                     options.server_hostname,
                                     options.ssl_handshake_timeout,
                                     options.ssl_shutdown_timeout,
                                     options.ssl_session};
  const internal::SslSpec spec = options.server_side
                                     ? internal::server_spec(request)
                                     : internal::client_spec(request, std::nullopt);
  Future<void> done = create_future<void>();
  stream->start_tls(spec, options.received, [done](const Error& error) mutable {
    if (done.done()) return;
    error ? done.set_error(error) : done.set_result();
  });
  return internal::wait_for(internal::Upgrade{std::move(alive), std::move(done)});
}

}  // namespace ferry
