// Two SslObjects and the wire between them: the input says which step is made with how much room,
// and what the wire does to the ciphertext. What comes is what was sent, in order, whatever is done
// to it on its way; nothing but a clean status or a failure with words comes; and while the wire is
// honest nobody fails, and nothing gets stuck.
#include "transports/ssl_object.hpp"

#include "fuzz/fuzz.hpp"
#include "support/tls/certificates.hpp"
#include "support/tls/fixed_random.hpp"

#include <ferry/openssl.hpp>

#include <algorithm>
#include <vector>

using ferry::BytesView;
using ferry::internal::SslObject;
using ferry::internal::SslSpec;
using ferry::internal::SslStatus;
using fuzz::require;

namespace {

constexpr std::size_t most_messages = 6;  // KeyUpdates and renegotiations: 64 are refused

std::byte byte_at(std::size_t position) { return static_cast<std::byte>(position % 251); }

struct Contexts {
  ferry::SslContext client, server;
};
// Of one version, so that no handshake has to find one; those of 1.2 may renegotiate.
Contexts make_contexts(ferry::TlsVersion version) {
  const test::Identity identity =
      test::authority().issue(test::for_localhost(test::KeyKind::ed25519));
  Contexts made{ferry::SslContext::client(ferry::Pem::text(test::authority().pem())),
                ferry::SslContext::server(ferry::Pem::text(identity.cert_pem),
                                          ferry::Pem::text(identity.key_pem))};
  for (ferry::SslContext* const context : {&made.client, &made.server}) {
    context->set_minimum_version(version);
    context->set_maximum_version(version);
    context->set_renegotiation(true);
  }
  return made;
}
const Contexts& contexts_of(ferry::TlsVersion version) {
  static const Contexts old = make_contexts(ferry::TlsVersion::v1_2);
  static const Contexts recent = make_contexts(ferry::TlsVersion::v1_3);
  return version == ferry::TlsVersion::v1_2 ? old : recent;
}

SslSpec spec_of(const Contexts& contexts, bool server) {
  SslSpec spec;
  spec.context = server ? contexts.server : contexts.client;
  spec.server_side = server;
  if (!server) spec.server_name = "localhost";
  return spec;
}

// What is known of one way.
struct Way {
  std::vector<std::byte> wire;     // left the one, not yet come to the other
  std::size_t told = 0, most = 0;  // sent: for sure, and with a write that is to be repeated
  std::size_t received = 0;
  bool ended = false;  // close_notify was said
};

class End {
 public:
  End(const SslSpec& spec, Way& out, Way& in, const bool& honest)
      : object_{spec}, out_{out}, in_{in}, honest_{honest} {}

  bool done() const { return done_; }
  bool must_repeat() const { return repeat_ > 0; }
  bool renegotiates() const { return SSL_version(object_.ssl()) < TLS1_3_VERSION; }
  bool is_leaving() const { return out_.ended; }
  bool said_goodbye() const { return goodbye_; }
  bool heard_goodbye() const { return heard_goodbye_; }

  // The wire's.
  void arrive(std::size_t count) {
    count = std::min(count, in_.wire.size());
    const auto end = in_.wire.begin() + static_cast<std::ptrdiff_t>(count);
    input_.insert(input_.end(), in_.wire.begin(), end);
    in_.wire.erase(in_.wire.begin(), end);
  }

  void handshake(std::size_t room) {
    if (done_) return;
    const auto [status, count] = run(room, [this] { return object_.handshake(); });
    require(count == 0, "a handshake counts nothing");
    if (status == SslStatus::done) done_ = true;
  }

  void read(std::size_t size, std::size_t room) {
    if (!done_ || half_written_) return;
    std::vector<std::byte> into(size);  // on the heap: a sanitizer sees its ends
    const auto [status, count] = run(room, [&] { return object_.read(into); });
    require(count <= size, "a read fits");
    for (std::size_t i = 0; i < count; ++i) {
      require(into[i] == byte_at(in_.received++), "what comes is what was sent");
    }
    require(in_.received <= in_.most, "no more comes than was sent");
    require(status != SslStatus::done || count == size, "done: all of it is filled");
    require(status != SslStatus::want_input || object_.unread().empty(), "no input is forgotten");
    if (status != SslStatus::ended || failed_) return;
    require(in_.ended && in_.received == in_.told, "the end comes last");
    heard_goodbye_ = true;
  }

  void write(std::size_t size, std::size_t room) {
    if (!done_ || goodbye_ || out_.ended) return;
    size = std::max({size, repeat_, std::size_t{1}});
    std::vector<std::byte> text(size);  // elsewhere each time (T-086)
    for (std::size_t i = 0; i < size; ++i) text[i] = byte_at(out_.told + i);
    const auto [status, count] = run(room, [&] { return object_.write({text.data(), size}); });
    require(count <= std::min(size, SslObject::most_plain), "one record at most");
    require((status == SslStatus::done) == (count > 0), "done: something was taken");
    const bool repeat = status == SslStatus::want_output || status == SslStatus::want_input;
    half_written_ = status == SslStatus::want_output;
    repeat_ = repeat ? size : 0;
    out_.told += count;
    out_.most = out_.told + repeat_;
  }

  void shutdown(std::size_t room) {
    if (!done_ || goodbye_ || must_repeat() || has_news()) return;
    out_.ended = true;
    const SslStatus status = run(room, [this] { return object_.shutdown(); }).status;
    goodbye_ = status == SslStatus::done;
    half_written_ = status == SslStatus::want_output;
  }

  // KeyUpdate, or with TLS 1.2 a renegotiation: they go out with what is written next.
  void change_keys(bool ask_the_other_too) {
    if (!done_ || must_repeat() || out_.ended || has_news() || messages_ == most_messages) return;
    ++messages_;
    if (renegotiates()) {
      SSL_renegotiate(object_.ssl());
    } else {
      SSL_key_update(object_.ssl(), ask_the_other_too ? SSL_KEY_UPDATE_REQUESTED
                                                      : SSL_KEY_UPDATE_NOT_REQUESTED);
    }
  }
  bool has_news() const {
    return SSL_in_init(object_.ssl()) == 1 || SSL_renegotiate_pending(object_.ssl()) == 1;
  }

  // At any time.
  void ask() const {
    for (const char* const name : {"cipher", "peercert", "compression", "sslcontext", "tls_version",
                                   "server_name", "alpn_protocol", "session_reused", "ssl_session",
                                   "ssl_object", "ocsp_response"}) {
      object_.info(name);
    }
    require(!object_.info("peername").has_value(), "what is not TLS's is not told");
  }

 private:
  template <class Make>
  SslObject::Step run(std::size_t room, Make step) {
    const bool had_failed = failed_;
    std::vector<std::byte> output(room);
    object_.feed({input_.data(), input_.size()});
    object_.give_room(output);
    const SslObject::Step made = step();
    require(object_.produced() <= room, "the output fits");
    const std::size_t unread = object_.unread().size();
    require(unread <= input_.size(), "input does not grow");
    switch (made.status) {
      case SslStatus::want_input: break;
      case SslStatus::want_output:
        require(object_.room_left() == 0 || had_failed, "the room is full");
        break;
      case SslStatus::failed:
        if (honest_) std::fprintf(stderr, "failed: %s\n", object_.failure().what().data());
        require(!honest_, "nobody fails while the wire is honest");
        require(object_.failure() && !object_.failure().what().empty(), "it says why");
        failed_ = true;
        break;
      case SslStatus::ended:
        require(done_ || !honest_, "no end before the handshake is done");
        break;
      case SslStatus::done: break;
    }
    require(!had_failed || made.count == 0, "nothing comes from what has failed");
    const auto made_end = output.begin() + static_cast<std::ptrdiff_t>(object_.produced());
    out_.wire.insert(out_.wire.end(), output.begin(), made_end);
    input_.erase(input_.begin(), input_.end() - static_cast<std::ptrdiff_t>(unread));
    object_.feed({input_.data(), input_.size()});  // it has moved
    object_.give_room({});
    return made;
  }

  SslObject object_;
  Way& out_;
  Way& in_;
  const bool& honest_;
  std::vector<std::byte> input_;  // has come
  std::size_t repeat_ = 0;        // the size of a write that is to be made again
  std::size_t messages_ = 0;
  bool half_written_ = false;     // that one, or close_notify: the room was full
  bool done_ = false, failed_ = false, goodbye_ = false, heard_goodbye_ = false;
};

class Life {
 public:
  Life(const Contexts& contexts, fuzz::Input input)
      : input_{input},
        ends_{End{spec_of(contexts, false), ways_[0], ways_[1], honest_},
              End{spec_of(contexts, true), ways_[1], ways_[0], honest_}} {}

  void run(unsigned flags) {
    ends_early_ = (flags & 4) != 0;
    if ((flags & 2) != 0) join();
    while (!input_.empty()) step();
    if (honest_) end_well();
  }

 private:
  void step() {
    const unsigned what = input_.byte();
    const unsigned side = what / 128;
    End& end = ends_[side];
    switch (what % 16) {
      case 0: join(); break;
      case 1: end.handshake(room()); break;
      case 2:
        if (ends_early_) end.shutdown(room());
        break;
      case 3:
        if (!ends_early_ || !end.renegotiates()) end.change_keys((what & 16) != 0);
        break;
      case 4: end.ask(); break;
      case 5:
        if ((what & 48) == 48) damage(ways_[side].wire);
        break;
      case 6: case 7: end.arrive(input_.byte()); break;
      case 8: case 9: end.arrive(SIZE_MAX); break;
      case 10: case 11: case 12: {
        const std::size_t count = size();
        end.read(count, room());
        break;
      }
      default: {
        const std::size_t count = size();
        end.write(count, room());
        break;
      }
    }
  }

  std::size_t size() {
    static constexpr std::size_t sizes[] = {0, 1, 7, 100, 4096, 16383, 16384, 16385, 50000};
    return sizes[input_.byte() % std::size(sizes)];
  }
  std::size_t room() {
    static constexpr std::size_t rooms[] = {0, 1, 5, 50, 600, 16384, SslObject::most_record, 70000};
    return rooms[input_.byte() % std::size(rooms)];
  }

  void damage(std::vector<std::byte>& wire) {
    if (wire.empty()) return;
    honest_ = false;
    const unsigned how = input_.byte();
    const auto at = static_cast<std::ptrdiff_t>(input_.word() % wire.size());
    const auto count = std::min<std::ptrdiff_t>(1 + input_.byte(),
                                                static_cast<std::ptrdiff_t>(wire.size()) - at);
    switch (how % 4) {
      case 0: wire[static_cast<std::size_t>(at)] ^= std::byte{1} << (how / 32); break;
      case 1: wire.erase(wire.begin() + at, wire.begin() + at + count); break;
      case 2: {  // what went once comes again
        const std::vector<std::byte> again(wire.begin() + at, wire.begin() + at + count);
        wire.insert(wire.begin(), again.begin(), again.end());
        break;
      }
      default:
        for (std::ptrdiff_t i = 0; i < count; ++i) {
          wire.insert(wire.begin() + at, static_cast<std::byte>(input_.byte()));
        }
    }
  }

  // Each does what it can, with all the room that it wants.
  void join() {
    for (int i = 0; i < 12; ++i) {
      for (End& end : ends_) {
        end.arrive(SIZE_MAX);
        end.handshake(70000);
        if (end.must_repeat() || end.has_news()) end.write(0, 70000);
        if (end.is_leaving()) end.shutdown(70000);
        end.read(70000, 70000);
      }
    }
  }
  void end_well() {
    join();
    for (const End& end : ends_) {
      require(end.done(), "the handshake is done in the end");
      require(!end.must_repeat(), "no write waits for ever");
    }
    for (const Way& way : ways_) require(way.received == way.told, "all has come");
    for (End& end : ends_) end.shutdown(70000);
    join();
    for (const End& end : ends_) {
      require(end.said_goodbye() && end.heard_goodbye(), "both have ended in order");
    }
  }

  fuzz::Input input_;
  bool honest_ = true;
  bool ends_early_ = false;  // a renegotiation that meets a close_notify is never done: not both
  Way ways_[2];  // from the client, from the server
  End ends_[2];
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  const unsigned flags = input.byte();
  test::seed_openssl(0);
  const Contexts& contexts = contexts_of((flags & 1) != 0 ? ferry::TlsVersion::v1_2
                                                          : ferry::TlsVersion::v1_3);
  test::seed_openssl(1);  // whether the contexts were made now or before
  Life{contexts, input}.run(flags);
  return 0;
}
