// The exits of children, as packets of the completion port.
#pragma once

#include "platform/windows/iocp_selector.hpp"

#include <memory>
#include <unordered_map>
#include <vector>

namespace ferry::internal {

class ExitPort final : public PacketReceiver {
 public:
  explicit ExitPort(NativeHandle port) noexcept;
  ~ExitPort();
  ExitPort(const ExitPort&) = delete;
  ExitPort& operator=(const ExitPort&) = delete;

  Error add(NativeHandle process, Token token);
  void take_packet(const OVERLAPPED_ENTRY& packet, std::vector<Event>& out) override;

 private:
  struct Wait;
  static void CALLBACK ended(void* context, BOOLEAN);

  const NativeHandle port_;
  std::unordered_map<OVERLAPPED*, std::unique_ptr<Wait>> waits_;
};

}  // namespace ferry::internal
