// A transport between its beginning and the moment when who asked for it holds it.
#pragma once

#include <ferry/error.hpp>
#include <ferry/future.hpp>
#include <ferry/loop.hpp>

#include <memory>
#include <utility>

namespace ferry::internal {

template <class Transport>
struct Opening {
  explicit Opening(Loop& loop) : opened{loop.create_future<void>()} {}
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
  ~Opening() {  // cancelled, or failed, before it was taken: nobody will hold it
    if (transport) transport->give_up();
  }

  // What the transport calls when its protocol has heard of it, or never will.
  auto told() const {
    return [opened = opened](const Error& error) mutable {
      if (opened.done()) return;
      error ? opened.set_error(error) : opened.set_result();
    };
  }

  template <class Made, class Protocol>
  Made take(std::shared_ptr<Protocol> protocol) {
    Made made;
    made.transport = std::move(transport);
    made.protocol = std::move(protocol);
    return made;
  }

  Future<void> opened;
  std::shared_ptr<Transport> transport;
};

}  // namespace ferry::internal
