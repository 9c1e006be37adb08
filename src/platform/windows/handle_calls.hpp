// The part of the table of system calls that pipes and child processes use. As in calls.hpp: a
// failure is -1 with an errno.
#pragma once

#include "platform/windows/calls.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ferry::internal::calls {

// --- Pipes ---

// What tells the ends of a named pipe apart from everything else that a handle may be.
struct HandleFacts {
  enum class Kind : std::uint8_t { pipe_end, socket, file, console, device };
  Kind kind = Kind::device;
  bool overlapped = false;
  bool readable = false, writable = false;
  bool by_bytes = false;  // it blocks, and reads no messages
};
int facts_of(NativeHandle handle, HandleFacts& facts);
bool can_read(NativeHandle handle) noexcept;
bool has_messages(NativeHandle handle) noexcept;  // of its writer's, which may be empty

enum class Instance : std::uint8_t { only, first, next };
// `access`: PIPE_ACCESS_…; overlapped, not inherited, for programs of this machine.
NativeHandle create_pipe(const wchar_t* name, DWORD access, Instance instance);
// The other end. EBUSY: all instances are taken.
NativeHandle open_pipe(const wchar_t* name, DWORD access, bool overlapped);
NativeHandle create_event();
int close_pipe(NativeHandle handle);

// From now on a call that is done at once brings no packet.
int attach_pipe(NativeHandle port, NativeHandle handle, ULONG_PTR key);

// The three that may take time. EINPROGRESS: begun; the packet is `operation`, which with the
// memory of the bytes belongs to the system until the packet has come. Else it is done at once.
int await_bytes(NativeHandle handle, OVERLAPPED& operation);   // or the end: EPIPE
int await_client(NativeHandle handle, OVERLAPPED& operation);
std::ptrdiff_t write_pipe(NativeHandle handle, const void* from, std::size_t size,
                          OVERLAPPED& operation);
// What became of one whose packet has come: 0 or an errno.
int error_of(const OVERLAPPED& operation) noexcept;
void cancel_all(NativeHandle handle) noexcept;

// What is there, and no packet; EAGAIN: nothing, 0: the end. `event` is for this call alone;
// `by_messages`: what has_messages() said.
std::ptrdiff_t read_pipe(NativeHandle handle, NativeHandle event, bool by_messages, void* into,
                         std::size_t size);

// --- Children ---

// Another handle of the same thing.
NativeHandle duplicate(NativeHandle handle, bool inherited);
// One of this process's three, STD_INPUT_HANDLE and so on; invalid_handle: it has none.
NativeHandle standard_handle(DWORD which) noexcept;
NativeHandle open_null();

struct ProcessPlan {
  std::wstring program, line, directory;  // no directory: this process's
  const wchar_t* environment = nullptr;   // null: this process's
  HANDLE streams[3] = {};
  std::vector<HANDLE> inherited;  // each once, and inheritable; the child has no others
  DWORD flags = 0;
};
struct StartedProcess {
  NativeHandle handle = invalid_handle;
  DWORD id = 0;
};
int start_process(ProcessPlan& plan, StartedProcess& started);

int terminate(NativeHandle process);
bool has_exited(NativeHandle process) noexcept;
int exit_code(NativeHandle process, DWORD& code);
int send_break(DWORD process_group);
// Calls `call` with `context`, on a thread of the system's, once the process has ended.
int await_exit(NativeHandle process, WAITORTIMERCALLBACK call, void* context, HANDLE& wait);
// `wait_for_call`: if it has begun, until it is over.
void forget_exit(HANDLE wait, bool wait_for_call) noexcept;
// As post(), from such a call; tries again until it can be.
void post_for_sure(NativeHandle port, ULONG_PTR key, OVERLAPPED* packet) noexcept;

}  // namespace ferry::internal::calls
