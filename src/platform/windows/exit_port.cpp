#include "platform/windows/exit_port.hpp"

#include "platform/sockets/socket_address.hpp"
#include "platform/windows/handle_calls.hpp"

#include <string>

namespace ferry::internal {

struct ExitPort::Wait {
  OVERLAPPED packet{};  // its address is the packet's
  ExitPort* owner = nullptr;
  Token token = 0;
  // Ours: who waits for a process must have a handle of it until the wait is over.
  NativeHandle process = invalid_handle;
  HANDLE wait = nullptr;

  ~Wait() {
    if (process != invalid_handle) calls::close_handle(process);
  }
};

ExitPort::ExitPort(NativeHandle port) noexcept : port_{port} {}

ExitPort::~ExitPort() {
  for (const auto& [packet, wait] : waits_) calls::forget_exit(wait->wait, true);
}

// On a thread of the system's. The wait may be gone as soon as it is posted.
void CALLBACK ExitPort::ended(void* context, BOOLEAN) {
  auto* const wait = static_cast<Wait*>(context);
  auto* const receiver = static_cast<PacketReceiver*>(wait->owner);
  calls::post_for_sure(wait->owner->port_, reinterpret_cast<ULONG_PTR>(receiver), &wait->packet);
}

Error ExitPort::add(NativeHandle process, Token token) {
  auto made = std::make_unique<Wait>();
  made->owner = this;
  made->token = token;
  made->process = calls::duplicate(process, false);
  OVERLAPPED* const packet = &made->packet;
  Wait& wait = *waits_.emplace(packet, std::move(made)).first->second;
  if (wait.process != invalid_handle &&
      calls::await_exit(wait.process, &ended, &wait, wait.wait) == 0) {
    return {};
  }
  Error error = last_error("wait for a process");
  waits_.erase(packet);
  return error;
}

void ExitPort::take_packet(const OVERLAPPED_ENTRY& packet, std::vector<Event>& out) {
  const auto found = waits_.find(packet.lpOverlapped);
  out.push_back({found->second->token, ready_read});
  calls::forget_exit(found->second->wait, false);
  waits_.erase(found);
}

}  // namespace ferry::internal
