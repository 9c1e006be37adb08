// Pipes whose ends are ferry's, each with a Recorder.
#pragma once

#include "support/world.hpp"

#include <memory>
#include <utility>

namespace test {

struct Reading {
  std::shared_ptr<Recorder> protocol;
  std::shared_ptr<ferry::ReadTransport> transport;
};
struct Writing {
  std::shared_ptr<Recorder> protocol;
  std::shared_ptr<ferry::WriteTransport> transport;
};

inline Reading read_end(World& world, ferry::Pipe end,
                        std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>(),
                        ferry::PipeOptions options = {}) {
  auto task =
      world.loop.connect_read_pipe([&] { return protocol; }, std::move(end), options);
  auto made = world.run(std::move(task));
  return {std::move(made.protocol), std::move(made.transport)};
}
inline Writing write_end(World& world, ferry::Pipe end,
                         std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>()) {
  auto task = world.loop.connect_write_pipe([&] { return protocol; }, std::move(end));
  auto made = world.run(std::move(task));
  return {std::move(made.protocol), std::move(made.transport)};
}

// Writes until the transport has something queued.
inline void block_writing(Writing& writing, std::size_t at_least = 1) {
  const std::string chunk(16 * 1024, 'x');
  while (writing.transport->get_write_buffer_size() < at_least) writing.transport->write(chunk);
}

}  // namespace test
