// macOS and the BSDs: what they have, and what not.
#include <ferry/error.hpp>
#include <ferry/loop.hpp>

namespace ferry {

Backend Backend::native() { return kqueue(); }
Backend Backend::epoll() { throw NotSupported{"this system has no epoll"}; }

}  // namespace ferry
