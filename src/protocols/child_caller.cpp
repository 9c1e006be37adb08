#include "protocols/child_caller.hpp"

#include "protocols/report.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace ferry::internal {

ChildCaller::ChildCaller(std::shared_ptr<SubprocessProtocol> protocol) {
  set(std::move(protocol));
}

void ChildCaller::set(std::shared_ptr<BaseProtocol> protocol) {
  auto child = std::dynamic_pointer_cast<SubprocessProtocol>(protocol);
  if (!child) {
    throw std::invalid_argument{protocol ? "a subprocess transport needs a SubprocessProtocol"
                                         : "the protocol is null"};
  }
  protocol_ = std::move(child);
}

std::shared_ptr<SubprocessProtocol> ChildCaller::release() noexcept {
  stage_ = Stage::lost;
  return std::move(protocol_);
}

template <class Call>
void ChildCaller::call(const Site& site, bool in_order, const char* callback, Call&& call) const {
  call_and_report(site, protocol_, in_order, callback, std::forward<Call>(call));
}

void ChildCaller::connection_made(const Site& site) {
  const bool in_order = stage_ == Stage::start;
  if (in_order) stage_ = Stage::made;
  call(site, in_order, "connection_made",
       [&](SubprocessProtocol& protocol) { protocol.connection_made(site.transport); });
}

void ChildCaller::pipe_data_received(const Site& site, int fd, BytesView data) {
  const bool in_order = stage_ == Stage::made && !lost_[static_cast<std::size_t>(fd)] &&
                        !data.empty();
  call(site, in_order, "pipe_data_received",
       [&](SubprocessProtocol& protocol) { protocol.pipe_data_received(fd, data); });
}

void ChildCaller::pipe_connection_lost(const Site& site, int fd, const Error& exc) {
  bool& lost = lost_[static_cast<std::size_t>(fd)];
  const bool in_order = stage_ == Stage::made && !std::exchange(lost, true);
  call(site, in_order, "pipe_connection_lost",
       [&](SubprocessProtocol& protocol) { protocol.pipe_connection_lost(fd, exc); });
}

void ChildCaller::process_exited(const Site& site) {
  const bool in_order = stage_ == Stage::made && !std::exchange(exited_, true);
  call(site, in_order, "process_exited",
       [&](SubprocessProtocol& protocol) { protocol.process_exited(); });
}

void ChildCaller::pause_writing(const Site& site) {
  const bool in_order = stage_ == Stage::made && !std::exchange(paused_, true);
  call(site, in_order, "pause_writing",
       [&](SubprocessProtocol& protocol) { protocol.pause_writing(); });
}

void ChildCaller::resume_writing(const Site& site) {
  const bool in_order = stage_ == Stage::made && std::exchange(paused_, false);
  call(site, in_order, "resume_writing",
       [&](SubprocessProtocol& protocol) { protocol.resume_writing(); });
}

void ChildCaller::connection_lost(const Site& site) {
  const bool in_order = stage_ == Stage::made && exited_;
  stage_ = Stage::lost;
  call(site, in_order, "connection_lost",
       [&](SubprocessProtocol& protocol) { protocol.connection_lost(Error{}); });
}

}  // namespace ferry::internal
