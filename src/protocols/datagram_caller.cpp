#include "protocols/datagram_caller.hpp"

#include "protocols/report.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace ferry::internal {

DatagramCaller::DatagramCaller(std::shared_ptr<BaseDatagramProtocol> protocol) {
  set(std::move(protocol));
}

void DatagramCaller::set(std::shared_ptr<BaseProtocol> protocol) {
  auto datagrams = std::dynamic_pointer_cast<BaseDatagramProtocol>(protocol);
  if (!datagrams) {
    throw std::invalid_argument{protocol ? "a datagram transport needs a DatagramProtocol or a "
                                           "DatagramBatchProtocol"
                                         : "the protocol is null"};
  }
  in_batches_ = dynamic_cast<DatagramBatchProtocol*>(datagrams.get()) != nullptr;
  protocol_ = std::move(datagrams);
}

std::shared_ptr<BaseDatagramProtocol> DatagramCaller::release() noexcept {
  stage_ = Stage::lost;
  return std::move(protocol_);
}

template <class Call>
void DatagramCaller::call(const Site& site, bool in_order, const char* callback,
                          Call&& call) const {
  call_and_report(site, protocol_, in_order, callback, std::forward<Call>(call));
}

void DatagramCaller::connection_made(const Site& site) {
  const bool in_order = stage_ == Stage::start;
  if (in_order) stage_ = Stage::made;
  call(site, in_order, "connection_made",
       [&](BaseDatagramProtocol& protocol) { protocol.connection_made(site.transport); });
}

void DatagramCaller::datagram_received(const Site& site, const Datagram& datagram) {
  call(site, stage_ == Stage::made, "datagram_received", [&](BaseDatagramProtocol& protocol) {
    static_cast<DatagramProtocol&>(protocol).datagram_received(datagram.data, datagram.addr);
  });
}

void DatagramCaller::datagrams_received(const Site& site, std::span<const Datagram> datagrams) {
  const bool in_order = stage_ == Stage::made && !datagrams.empty();
  call(site, in_order, "datagrams_received", [&](BaseDatagramProtocol& protocol) {
    static_cast<DatagramBatchProtocol&>(protocol).datagrams_received(datagrams);
  });
}

void DatagramCaller::error_received(const Site& site, const Error& error) {
  call(site, stage_ == Stage::made, "error_received",
       [&](BaseDatagramProtocol& protocol) { protocol.error_received(error); });
}

void DatagramCaller::pause_writing(const Site& site) {
  const bool in_order = stage_ == Stage::made && !paused_;
  if (in_order) paused_ = true;
  call(site, in_order, "pause_writing",
       [&](BaseDatagramProtocol& protocol) { protocol.pause_writing(); });
}

void DatagramCaller::resume_writing(const Site& site) {
  const bool in_order = stage_ == Stage::made && paused_;
  if (in_order) paused_ = false;
  call(site, in_order, "resume_writing",
       [&](BaseDatagramProtocol& protocol) { protocol.resume_writing(); });
}

void DatagramCaller::connection_lost(const Site& site, const Error& exc) {
  const bool in_order = stage_ == Stage::made;
  if (in_order) stage_ = Stage::lost;
  call(site, in_order, "connection_lost",
       [&](BaseDatagramProtocol& protocol) { protocol.connection_lost(exc); });
}

}  // namespace ferry::internal
