// A file of its own: the tests' build has an emulated kqueue in its place.
#include <ferry/error.hpp>
#include <ferry/loop.hpp>

namespace ferry {

Backend Backend::kqueue() { throw NotSupported{"this system has no kqueue"}; }

}  // namespace ferry
