// The knobs of the emulated kqueue: two flavours, and faults that no real kernel gives on demand.
//
// The emulation is written from the manuals and sources of macOS and FreeBSD. It shows that ferry
// does what it should where kqueue does what they say; it shows nothing about a real kernel.
// Not emulated: EV_CLEAR, EV_ONESHOT and the like on descriptors (refused with ENOTSUP), what
// processes do but end, timers, signals, changes while another thread waits (but NOTE_TRIGGER), and
// which error the fflags of a report carry (ECONNRESET, whatever it is).
#pragma once

#include <cstdint>

namespace test::kqueue {

enum class Flavour { macos, freebsd };
// As FERRY_TEST_BACKEND says (kqueue-macos, kqueue-freebsd).
Flavour flavour();

// What goes wrong while it lives. One at a time.
class Faults {
 public:
  Faults();
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  // The next `times` changes of this filter that have this flag (EV_ADD, EV_DELETE) fail so.
  void fail(int filter, int flag, int error, int times = 1);
  // There are no user events (NetBSD before 10), or they are accepted and never come.
  void without_user_events();
  void mute_user_events();
  // A wait gives at most so many events.
  void at_most(int events);
  // Events come in another order each time.
  void shuffle(unsigned seed);
};

}  // namespace test::kqueue
