#include <ferry/protocols.hpp>
#include <ferry/server.hpp>
#include <ferry/transports.hpp>

namespace ferry {

BaseTransport::~BaseTransport() = default;
Server::~Server() = default;
PipeServer::~PipeServer() = default;

BaseProtocol::~BaseProtocol() = default;
void BaseProtocol::connection_lost(const Error&) {}
void BaseProtocol::pause_writing() {}
void BaseProtocol::resume_writing() {}

StreamProtocol::~StreamProtocol() = default;
void StreamProtocol::connection_made(Transport&) {}
bool StreamProtocol::eof_received() { return false; }

Protocol::~Protocol() = default;
void Protocol::data_received(BytesView) {}

BufferedProtocol::~BufferedProtocol() = default;
std::span<std::byte> BufferedProtocol::get_buffer(std::size_t) { return {}; }
void BufferedProtocol::buffer_updated(std::size_t) {}

BaseDatagramProtocol::~BaseDatagramProtocol() = default;
void BaseDatagramProtocol::connection_made(DatagramTransport&) {}
void BaseDatagramProtocol::error_received(const Error&) {}

DatagramProtocol::~DatagramProtocol() = default;
void DatagramProtocol::datagram_received(BytesView, const Address&) {}

DatagramBatchProtocol::~DatagramBatchProtocol() = default;
void DatagramBatchProtocol::datagrams_received(std::span<const Datagram>) {}

SubprocessProtocol::~SubprocessProtocol() = default;
void SubprocessProtocol::connection_made(SubprocessTransport&) {}
void SubprocessProtocol::pipe_data_received(int, BytesView) {}
void SubprocessProtocol::pipe_connection_lost(int, const Error&) {}
void SubprocessProtocol::process_exited() {}

}  // namespace ferry
