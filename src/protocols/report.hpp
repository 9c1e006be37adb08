// What a protocol's callback threw, or must not be asked, told to the loop's exception handler.
#pragma once

#include <ferry/loop.hpp>

#include <exception>
#include <memory>
#include <string>

namespace ferry::internal {

inline void report(Loop& loop, BaseTransport& transport, BaseProtocol* protocol,
                   const std::string& message, const Error& error) {
  ExceptionContext context;
  context.message = message;
  context.exception = error;
  context.transport = &transport;
  context.protocol = protocol;
  loop.call_exception_handler(context);
}

// It was not this callback's turn.
inline void report_out_of_order(Loop& loop, BaseTransport& transport, BaseProtocol* protocol,
                                const char* callback) {
  report(loop, transport, protocol,
         std::string{"ferry broke its contract: "} + callback +
             "() out of order; the call was not made",
         Error{});
}

// Makes the call if it is in order; what it throws is reported, and the transport goes on.
// `site` names loop and transport; `protocol` may be replaced, and so let go of, inside the call.
template <class Site, class P, class Call>
void call_and_report(const Site& site, const std::shared_ptr<P>& protocol, bool in_order,
                     const char* callback, Call&& call) {
  if (!in_order) {
    return report_out_of_order(site.loop, site.transport, protocol.get(), callback);
  }
  const auto alive = protocol;
  try {
    call(*alive);
  } catch (...) {
    report(site.loop, site.transport, protocol.get(), std::string{callback} + "() threw",
           Error{std::current_exception()});
  }
}

}  // namespace ferry::internal
