// A shared object that has a static ferry inside and shows one function to the world.
#include <ferry/ferry.hpp>

extern "C" __attribute__((visibility("default"))) int plugin_run();

int plugin_run() {
  ferry::Loop loop;
  loop.call_soon([&] { loop.stop(); });
  loop.run_forever();
  return loop.is_closed() ? 1 : 0;
}
