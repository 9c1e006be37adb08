// Descriptors that a Unix socket's peer sends.
#pragma once

#include "support/catch.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstring>
#include <string_view>

namespace test {

// `text` over the socket `to`, with a descriptor beside it: the socket's own.
inline void send_with_descriptor(int to, std::string_view text) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &to, sizeof to);
  REQUIRE(::sendmsg(to, &message, 0) == static_cast<ssize_t>(text.size()));
}

}  // namespace test
