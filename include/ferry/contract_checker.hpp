// A tool for tests: stands between a protocol and its transport, and tells the first breach of the
// contract between the two, with the trace of all that happened on that connection.
//
// It is for who writes a protocol (does it use its transport as it may?), and for who writes a
// transport (S-054): the transport calls what protocol() gives, and calls nobody else.
//
//   ferry::ContractChecker checker;
//   auto server = co_await loop.create_server(checker.factory(ferry::make<Echo>), host, port);
//   …                       // the connections live and end
//   checker.finish();       // throws ContractBreach, whose what() is the breach and the trace
//
// What it watches, of each connection:
//
//   order      connection_made, data_received* (or get_buffer and buffer_updated), eof_received?,
//              connection_lost; the first and the last exactly once, nothing after the last
//              (S-062, S-063, S-073, C-12). One callback at a time, and, but for pause_writing(),
//              none inside a call of the user's (S-009, S-026, C-11). To the present protocol only
//              in one thread (S-005).
//   reading    nothing while reading is paused (S-022), after the end, or while closing (S-008);
//              no empty data (S-067); buffer_updated() counts within what get_buffer() lent
//              . is_reading() is true exactly while something may come.
//   marks      pause_writing() only over the high mark and inside the call that went over it, and
//              always then (S-078, S-081, C-13); resume_writing() at the low mark; the two
//              alternate (S-080). A close() that flushes resumes before the end (C-10).
//   buffer     get_write_buffer_size() is never more than what was written since it was last seen,
//              0 after abort() and at the end (S-028, C-14, S-025).
//   closing    is_closing() is true from close(), abort() or an end that is not kept on, and stays
//              so. eof_received()'s answer is honoured (S-070, S-071).
//   reasons    connection_lost() has no error without abort()'s leave (S-026, T-020), and is not
//              clean if nobody closed (S-061) or a callback threw (C-15).
//   calls      write() and the others throw only what their contract says, and do then (C-22,
//              T-049); an argument that is refused changes nothing (S-031).
//   afterwards peername is what it was (S-011, T-023). Nobody uses a transport after
//              connection_lost(), unless he keeps what connection() gave (S-060); the checker
//              remembers its last 100 connections for that.
//
// What it cannot see is what reached the peer. A call that breaks the order is not passed on to the
// protocol. Asking is cheap, but it asks: get_write_buffer_size() is called at moments at which a
// program might not, and may try to send.
#pragma once

#include <ferry/export.hpp>
#include <ferry/loop.hpp>
#include <ferry/protocols.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace ferry {

namespace internal {
class ContractJournal;
}

// What finish() throws.
class FERRY_API ContractBreach : public std::logic_error {
 public:
  using std::logic_error::logic_error;
  ~ContractBreach() override;
};

// Checks any number of connections. May die before them: then they are checked no more.
class FERRY_API ContractChecker {
 public:
  using OnBreach = std::function<void(const std::string& breach)>;

  // `on_breach` is called at the first breach and where it happens, so that a debugger shows who
  // did it: from inside a callback or a call, on the thread that did it.
  explicit ContractChecker(OnBreach on_breach = {});
  ContractChecker(const ContractChecker&) = delete;
  ContractChecker& operator=(const ContractChecker&) = delete;
  // A breach that nobody asked for, not even an on_breach, is written to standard error.
  ~ContractChecker();

  // A factory whose protocols are checked, for create_server() and create_connection().
  template <class Factory>
  auto factory(Factory make) {
    return [journal = journal_, make = std::move(make)]() mutable {
      return checked(journal, make());
    };
  }
  // What a transport shall call in place of `protocol`, a Protocol or a BufferedProtocol. The
  // transport that connection_made() hands on from it is a checked one as well.
  std::shared_ptr<StreamProtocol> protocol(std::shared_ptr<StreamProtocol> protocol) {
    return checked(journal_, std::move(protocol));
  }
  // Of what create_connection() gave: the transport whose calls are seen, and the user's own
  // protocol. Calls that go around it are not seen, and what follows from them is taken for a
  // breach. Throws std::invalid_argument if the protocol is not a checked one.
  template <class P = StreamProtocol>
  Connection<P> connection(const Connection<>& made) {
    const Connection<> seen = seen_from_outside(made);
    Connection<P> result;
    result.transport = seen.transport;
    result.protocol = std::dynamic_pointer_cast<P>(seen.protocol);
    return result;
  }
  // Connections may also be closed where it is not seen, as Server::close_clients() does: from now
  // on a clean end needs no close() before it.
  void allow_closing_elsewhere();

  // The first breach and its trace; empty if there was none.
  std::string breach() const;
  // Every connection that was made must be lost by now. Throws ContractBreach for the first breach.
  void finish();

 private:
  static std::shared_ptr<StreamProtocol> checked(
      const std::shared_ptr<internal::ContractJournal>& journal,
      std::shared_ptr<StreamProtocol> protocol);
  static Connection<> seen_from_outside(const Connection<>& made);

  std::shared_ptr<internal::ContractJournal> journal_;
};

}  // namespace ferry
