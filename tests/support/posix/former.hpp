// A disposition that was there before ferry's, to see that it comes back.
#pragma once

#include <csignal>

namespace test {

inline volatile std::sig_atomic_t former_calls = 0;
inline void former_handler(int) { former_calls = former_calls + 1; }

// Puts a handler of the test's own in place, and the old one back.
class Former {
 public:
  explicit Former(int number) : number_{number} {
    struct sigaction action {};
    action.sa_handler = &former_handler;
    action.sa_flags = SA_NODEFER;
    sigaddset(&action.sa_mask, SIGUSR2);
    ::sigaction(number, &action, &before_);
    former_calls = 0;
  }
  ~Former() { ::sigaction(number_, &before_, nullptr); }
  Former(const Former&) = delete;
  Former& operator=(const Former&) = delete;

  bool in_place() const {
    struct sigaction now {};
    ::sigaction(number_, nullptr, &now);
    return now.sa_handler == &former_handler && (now.sa_flags & SA_NODEFER) != 0 &&
           sigismember(&now.sa_mask, SIGUSR2) == 1;
  }

 private:
  int number_;
  struct sigaction before_ {};
};

}  // namespace test
