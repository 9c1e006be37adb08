// Console events, which are Windows' signals.
#pragma once

namespace ferry::internal {

// What the handler does with an event, but for what comes after it: marks its signal for the loops
// that have it, and wakes them. What that signal is; 0: no loop has it, so the event goes on to the
// next handler, and from the last one to the end of the process.
int deliver_console_event(unsigned long event) noexcept;

}  // namespace ferry::internal
