// The system's calls on sockets as a type: what is written once for them and for simulated
// ones takes it as a parameter. (Empty: it costs its users neither time nor room.)
#pragma once

#include "platform/sockets/calls.hpp"

namespace ferry::internal {

struct SystemCalls {
  static constexpr bool is_socket = true;
  static constexpr const char* receive_name = "receive";
  static constexpr const char* send_name = "send";
  static constexpr bool selector_tells_resets = calls::selector_tells_resets;
  using Part = calls::Part;
  static constexpr auto* part = calls::part;
  static bool was_cut() noexcept { return calls::was_cut(); }

  static constexpr auto* stream_socket = calls::stream_socket;
  static constexpr auto* datagram_socket = calls::datagram_socket;
  static constexpr auto* receive_many = calls::receive_many;
  static constexpr auto* send_many = calls::send_many;
  static constexpr auto* can_cut_segments = calls::can_cut_segments;
  static constexpr auto* join_segments = calls::join_segments;
  static constexpr auto* tell_packet_ways = calls::tell_packet_ways;
  static constexpr auto* drops_datagrams = calls::drops_datagrams;
  static constexpr auto* drop_error_queue = calls::drop_error_queue;
  static constexpr bool receives_without_a_name = calls::receives_without_a_name;
  static constexpr auto* family_of = calls::family_of;
  static constexpr auto* ignore_unreachable = calls::ignore_unreachable;
  static constexpr auto* bind = calls::bind;
  static constexpr auto* listen = calls::listen;
  static constexpr auto* accept = calls::accept;
  static constexpr auto* connect = calls::connect;
  static constexpr auto* recv = calls::recv;
  static constexpr auto* look = calls::look;
  static constexpr auto* send = calls::send;
  static constexpr auto* sendmsg = calls::sendmsg;
  static constexpr auto* shut_write = calls::shut_write;
  static constexpr auto* close = calls::close;
  static constexpr auto* getsockname = calls::getsockname;
  static constexpr auto* getpeername = calls::getpeername;
  static constexpr auto* setsockopt = calls::setsockopt;
  static constexpr auto* getsockopt = calls::getsockopt;
  static constexpr auto* set_nonblocking = calls::set_nonblocking;
  static constexpr auto* no_sigpipe = calls::no_sigpipe;
  static constexpr auto* listens = calls::listens;
  static constexpr auto* pending_error = calls::pending_error;
  static constexpr auto* claim_address = calls::claim_address;
  static constexpr auto* share_port = calls::share_port;
  static constexpr auto* has_ended = calls::has_ended;
  static constexpr auto* stat = calls::stat;
  static constexpr auto* unlink = calls::unlink;
};

}  // namespace ferry::internal
