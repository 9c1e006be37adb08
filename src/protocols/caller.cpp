#include "protocols/caller.hpp"

#include "protocols/report.hpp"

#include <stdexcept>
#include <string>
#include <system_error>

namespace ferry::internal {
namespace {

bool is_system_error(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const std::system_error&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

ProtocolCaller::ProtocolCaller(std::shared_ptr<StreamProtocol> protocol) {
  set(std::move(protocol));
}

void ProtocolCaller::set(std::shared_ptr<BaseProtocol> protocol) {
  auto stream = std::dynamic_pointer_cast<StreamProtocol>(protocol);
  if (!stream) {
    throw std::invalid_argument{protocol ? "a stream transport needs a Protocol or a "
                                           "BufferedProtocol"
                                         : "the protocol is null"};
  }
  buffered_ = dynamic_cast<BufferedProtocol*>(stream.get()) != nullptr;
  protocol_ = std::move(stream);
}

std::shared_ptr<StreamProtocol> ProtocolCaller::release() noexcept {
  stage_ = Stage::lost;
  return std::move(protocol_);
}

bool ProtocolCaller::expect(const Site& site, bool in_order, const char* callback) const {
  if (in_order) return true;
  report_out_of_order(site.loop, site.transport, protocol_.get(), callback);
  return false;
}

template <class Call>
Error ProtocolCaller::guarded(const Site& site, const char* callback, bool fatal,
                              Call&& call) const {
  try {
    call();
    return {};
  } catch (...) {
    Error error{std::current_exception()};
    if (!fatal || !is_system_error(error.exception())) {
      report(site.loop, site.transport, protocol_.get(),
             std::string{fatal ? "fatal error: " : ""} + callback + "() threw", error);
    }
    return error;
  }
}

// In each: `alive`, because a protocol may be replaced, and so let go of, inside its own callback.
void ProtocolCaller::connection_made(const Site& site) {
  if (!expect(site, stage_ == Stage::start, "connection_made")) return;
  stage_ = Stage::made;
  const auto alive = protocol_;
  guarded(site, "connection_made", false, [&] { alive->connection_made(site.transport); });
}

Error ProtocolCaller::data_received(const Site& site, BytesView data) {
  if (!expect(site, stage_ == Stage::made && !data.empty(), "data_received")) return {};
  const auto alive = protocol_;
  return guarded(site, "data_received", true,
                 [&] { static_cast<Protocol&>(*alive).data_received(data); });
}

Error ProtocolCaller::get_buffer(const Site& site, std::span<std::byte>& buffer) {
  if (!expect(site, stage_ == Stage::made, "get_buffer")) return {};
  const auto alive = protocol_;
  return guarded(site, "get_buffer", true, [&] {
    buffer = static_cast<BufferedProtocol&>(*alive).get_buffer(0);
    if (buffer.empty()) throw std::runtime_error{"get_buffer() returned an empty buffer"};
  });
}

Error ProtocolCaller::buffer_updated(const Site& site, std::size_t count) {
  if (!expect(site, stage_ == Stage::made && count > 0, "buffer_updated")) return {};
  const auto alive = protocol_;
  return guarded(site, "buffer_updated", true,
                 [&] { static_cast<BufferedProtocol&>(*alive).buffer_updated(count); });
}

Error ProtocolCaller::eof_received(const Site& site, bool& keep_open) {
  if (!expect(site, stage_ == Stage::made, "eof_received")) return {};
  stage_ = Stage::ended;
  const auto alive = protocol_;
  return guarded(site, "eof_received", true, [&] { keep_open = alive->eof_received(); });
}

void ProtocolCaller::pause_writing(const Site& site) {
  const bool living = stage_ == Stage::made || stage_ == Stage::ended;
  if (!expect(site, living && !paused_, "pause_writing")) return;
  paused_ = true;
  const auto alive = protocol_;
  guarded(site, "pause_writing", false, [&] { alive->pause_writing(); });
}

void ProtocolCaller::resume_writing(const Site& site) {
  const bool living = stage_ == Stage::made || stage_ == Stage::ended;
  if (!expect(site, living && paused_, "resume_writing")) return;
  paused_ = false;
  const auto alive = protocol_;
  guarded(site, "resume_writing", false, [&] { alive->resume_writing(); });
}

void ProtocolCaller::connection_lost(const Site& site, const Error& exc) {
  const bool living = stage_ == Stage::made || stage_ == Stage::ended;
  if (!expect(site, living, "connection_lost")) return;
  stage_ = Stage::lost;
  const auto alive = protocol_;
  guarded(site, "connection_lost", false, [&] { alive->connection_lost(exc); });
}

}  // namespace ferry::internal
