// What this system has of the newer calls, and what stands for those that it lacks.
//
// In the library each answer is a constant. In the tests' build any of them may be taken away while
// the program runs, so that the code for systems without them runs on one that has them.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace ferry::internal {

struct Features {
  bool accept4 = true;
  bool pipe2 = true;
  bool socket_flags = true;  // SOCK_CLOEXEC and SOCK_NONBLOCK
  bool msg_nosignal = true;  // and may be relied on
  bool message_batches = true;  // recvmmsg() and sendmmsg()
  bool segmentation = true;     // UDP_SEGMENT and UDP_GRO
  bool pidfd = true;            // a child's exit as readiness
  bool shared_start = true;     // a child begins in its parent's memory, which is not copied
  bool spawn_call = false;      // posix_spawn() is the way that copies nothing
  bool close_range = true;
  bool drops_datagrams = false; // what there is no room for, instead of letting it wait (S-082)
};

#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
inline constexpr bool has_flags_at_birth = true;
inline constexpr int sock_cloexec = SOCK_CLOEXEC, sock_nonblock = SOCK_NONBLOCK;
#else
inline constexpr bool has_flags_at_birth = false;  // macOS; accept4() and pipe2() are as old
inline constexpr int sock_cloexec = 0, sock_nonblock = 0;
// Only so that the code that would call them compiles: Features says not to.
inline int accept4(int, sockaddr*, socklen_t*, int) { return errno = ENOSYS, -1; }
inline int pipe2(int*, int) { return errno = ENOSYS, -1; }
#endif

#ifdef MSG_NOSIGNAL
inline constexpr int msg_nosignal = MSG_NOSIGNAL;
#else
inline constexpr int msg_nosignal = 0;
#endif

#ifdef SO_NOSIGPIPE
inline constexpr int so_nosigpipe = SO_NOSIGPIPE;
#else
inline constexpr int so_nosigpipe = 0;  // there is none
#endif

#ifdef __linux__
inline constexpr bool datagrams_are_dropped = false;
inline constexpr bool has_pidfd = true, has_shared_start = true;
#else
inline constexpr bool datagrams_are_dropped = true;
inline constexpr bool has_pidfd = false, has_shared_start = false;
#endif

#ifdef __APPLE__
inline constexpr bool has_spawn_call = true;
#else
inline constexpr bool has_spawn_call = false;
#endif

#if defined(__linux__) || defined(__FreeBSD__)
inline constexpr bool has_close_range = true;
#else
inline constexpr bool has_close_range = false;
#endif

#ifdef __APPLE__
// Its headers are newer than the oldest kernels that they are used for.
inline constexpr bool msg_nosignal_is_obeyed = false;
#else
inline constexpr bool msg_nosignal_is_obeyed = msg_nosignal != 0;
#endif

#ifdef MSG_WAITFORONE
inline constexpr bool has_message_batches = true;
using MessageHeader = mmsghdr;
#else
inline constexpr bool has_message_batches = false;
struct MessageHeader {
  msghdr msg_hdr;
  unsigned msg_len;
};
inline int recvmmsg(int, MessageHeader*, unsigned, int, timespec*) { return errno = ENOSYS, -1; }
inline int sendmmsg(int, MessageHeader*, unsigned, int) { return errno = ENOSYS, -1; }
#endif

#if defined(UDP_SEGMENT) && defined(UDP_GRO)
inline constexpr int udp_segment = UDP_SEGMENT, udp_gro = UDP_GRO;
#else
inline constexpr int udp_segment = 0, udp_gro = 0;  // there is none
#endif

inline constexpr Features system_features{has_flags_at_birth, has_flags_at_birth,
                                          has_flags_at_birth, msg_nosignal_is_obeyed,
                                          has_message_batches, udp_segment != 0,
                                          has_pidfd, has_shared_start, has_spawn_call,
                                          has_close_range,
                                          datagrams_are_dropped};
#ifdef FERRY_TEST_HOOKS
inline constinit Features features = system_features;
#else
inline constexpr Features features = system_features;
#endif

}  // namespace ferry::internal
