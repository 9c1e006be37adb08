/* kqueue(2) as the emulation in tests/support/kqueue declares it: what src/platform/bsd uses, by
   the manuals of macOS and FreeBSD. Only for tests on systems that have no kqueue. */
#ifndef FERRY_TESTS_SYS_EVENT_H
#define FERRY_TESTS_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_PROC (-5)
#define EVFILT_USER (-11)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_TRIGGER 0x01000000
#define NOTE_EXIT 0x80000000

/* FreeBSD's; macOS has no `ext`. */
struct kevent {
  uintptr_t ident;
  int16_t filter;
  uint16_t flags;
  uint32_t fflags;
  int64_t data;
  void* udata;
  uint64_t ext[4];
};

#define EV_SET(event, ident_, filter_, flags_, fflags_, data_, udata_) \
  do {                                                                 \
    struct kevent* const to_ = (event);                                \
    to_->ident = (ident_);                                             \
    to_->filter = (filter_);                                           \
    to_->flags = (flags_);                                             \
    to_->fflags = (fflags_);                                           \
    to_->data = (data_);                                               \
    to_->udata = (void*)(udata_);                                      \
    to_->ext[0] = to_->ext[1] = to_->ext[2] = to_->ext[3] = 0;         \
  } while (0)

#ifdef __cplusplus
extern "C" {
#endif
int kqueue(void);
int kevent(int queue, const struct kevent* changes, int change_count, struct kevent* events,
           int event_count, const struct timespec* timeout);
#ifdef __cplusplus
}
#endif

#endif
