// What a protocol's callback threw, told to the loop's exception handler.
#pragma once

#include <ferry/loop.hpp>

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

}  // namespace ferry::internal
