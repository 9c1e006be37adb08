#include "platform/windows/handle_calls.hpp"

#include "platform/windows/errors.hpp"

#include <algorithm>
#include <memory>

// In ntdll; not all headers declare it.
extern "C" NTSTATUS NTAPI NtQueryInformationFile(HANDLE file, PIO_STATUS_BLOCK status, PVOID told,
                                                 ULONG size, FILE_INFORMATION_CLASS what);

namespace ferry::internal::calls {
namespace {

constexpr DWORD pipe_size = 64 * 1024;
constexpr DWORD exit_by_us = 1;  // as asyncio has it

HANDLE object(NativeHandle handle) noexcept { return reinterpret_cast<HANDLE>(handle); }
NativeHandle number(HANDLE handle) noexcept { return reinterpret_cast<NativeHandle>(handle); }

int failed_with(DWORD error) noexcept {
  errno = errno_of(error);
  return -1;
}
int failed() noexcept { return failed_with(::GetLastError()); }
int checked(BOOL answer) noexcept { return answer != 0 ? 0 : failed(); }
NativeHandle checked_handle(HANDLE handle) noexcept {
  return handle == INVALID_HANDLE_VALUE || handle == nullptr ? failed() : number(handle);
}
DWORD fits(std::size_t size) noexcept {
  return static_cast<DWORD>(std::min<std::size_t>(size, 1u << 30));
}

// Of a handle of a file, a pipe or the like; what it was if the system does not tell.
template <class Answer>
Answer ask(NativeHandle handle, int what, Answer answer) noexcept {
  IO_STATUS_BLOCK status{};
  Answer told = answer;
  const NTSTATUS result = ::NtQueryInformationFile(object(handle), &status, &told, sizeof told,
                                                   static_cast<FILE_INFORMATION_CLASS>(what));
  return result < 0 ? answer : told;
}
ULONG access_of(NativeHandle handle) noexcept {
  constexpr int access_information = 8;
  return ask(handle, access_information, ULONG{0});
}

// An attribute list with the one thing that we have to say.
class InheritedHandles {
 public:
  explicit InheritedHandles(std::vector<HANDLE>& handles) {
    SIZE_T size = 0;
    ::InitializeProcThreadAttributeList(nullptr, 1, 0, &size);
    room_.reset(new std::byte[size]);
    made_ = ::InitializeProcThreadAttributeList(get(), 1, 0, &size) != 0 &&
            ::UpdateProcThreadAttribute(get(), 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                                        handles.data(), handles.size() * sizeof(HANDLE), nullptr,
                                        nullptr) != 0;
  }
  ~InheritedHandles() {
    if (made_) ::DeleteProcThreadAttributeList(get());
  }
  InheritedHandles(const InheritedHandles&) = delete;
  InheritedHandles& operator=(const InheritedHandles&) = delete;

  explicit operator bool() const noexcept { return made_; }
  LPPROC_THREAD_ATTRIBUTE_LIST get() const noexcept {
    return reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(room_.get());
  }

 private:
  std::unique_ptr<std::byte[]> room_;
  bool made_ = false;
};

}  // namespace

int facts_of(NativeHandle handle, HandleFacts& facts) {
  using Kind = HandleFacts::Kind;
  return through(Call::fstat, handle, 0, [&](std::size_t) {
    facts = {};
    ::SetLastError(NO_ERROR);
    const DWORD type = ::GetFileType(object(handle));
    if (type == FILE_TYPE_UNKNOWN && ::GetLastError() != NO_ERROR) return failed();
    DWORD mode = 0;
    if (type == FILE_TYPE_DISK) facts.kind = Kind::file;
    if (type == FILE_TYPE_CHAR && ::GetConsoleMode(object(handle), &mode) != 0) {
      facts.kind = Kind::console;
    }
    if (type != FILE_TYPE_PIPE) return 0;
    // Sockets are of that type too. (One that can only be written does not tell that it is a pipe.)
    start_sockets();
    int socket_type = 0;
    socklen_t length = sizeof socket_type;
    const int is_socket = ::getsockopt(static_cast<SOCKET>(handle), SOL_SOCKET, SO_TYPE,
                                       reinterpret_cast<char*>(&socket_type), &length);
    facts.kind = is_socket == 0 ? Kind::socket : Kind::pipe_end;
    const ULONG access = access_of(handle);
    facts.readable = (access & FILE_READ_DATA) != 0;
    facts.writable = (access & FILE_WRITE_DATA) != 0;
    constexpr int mode_information = 16, pipe_information = 23;
    constexpr ULONG synchronous = 0x10 | 0x20;  // FILE_SYNCHRONOUS_IO_ALERT and _NONALERT
    facts.overlapped = (ask(handle, mode_information, ULONG{0}) & synchronous) == 0;
    struct Pipe {
      ULONG reads_messages = 0, never_waits = 0;
    };
    const Pipe modes = ask(handle, pipe_information, Pipe{});
    facts.by_bytes = modes.reads_messages == 0 && modes.never_waits == 0;
    return 0;
  });
}

bool can_read(NativeHandle handle) noexcept { return (access_of(handle) & FILE_READ_DATA) != 0; }

NativeHandle create_pipe(const wchar_t* name, DWORD access, Instance instance) {
  return through(Call::pipe, -1, 0, [&](std::size_t) {
    const DWORD first = instance == Instance::next ? 0 : FILE_FLAG_FIRST_PIPE_INSTANCE;
    return checked_handle(::CreateNamedPipeW(
        name, access | FILE_FLAG_OVERLAPPED | first,
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        instance == Instance::only ? 1 : PIPE_UNLIMITED_INSTANCES, pipe_size, pipe_size, 0,
        nullptr));
  });
}
NativeHandle open_pipe(const wchar_t* name, DWORD access, bool overlapped) {
  return through(Call::open, -1, 0, [&](std::size_t) {
    // Whoever made the pipe may know who we are, but not act as we may.
    constexpr DWORD known = SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
    return checked_handle(::CreateFileW(name, access, 0, nullptr, OPEN_EXISTING,
                                        known | (overlapped ? FILE_FLAG_OVERLAPPED : 0), nullptr));
  });
}
NativeHandle create_event() {
  return checked_handle(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
}
int close_pipe(NativeHandle handle) {
  return through(Call::close, handle, 0,
                 [&](std::size_t) { return checked(::CloseHandle(object(handle))); });
}

int attach_pipe(NativeHandle port, NativeHandle handle, ULONG_PTR key) {
  return through(Call::pipe_attach, handle, 0, [&](std::size_t) {
    if (attach(port, handle, key) != 0) return -1;
    return checked(::SetFileCompletionNotificationModes(
        object(handle), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE));
  });
}

int await_bytes(NativeHandle handle, OVERLAPPED& operation) {
  return through(Call::pipe_wait, handle, 0, [&](std::size_t) {
    operation = {};
    char none;
    // Reads nothing, and is done when there is something.
    if (::ReadFile(object(handle), &none, 0, nullptr, &operation) != 0) return 0;
    const DWORD error = ::GetLastError();
    if (error != ERROR_IO_PENDING) return failed_with(error);
    return errno = EINPROGRESS, -1;
  });
}
int await_client(NativeHandle handle, OVERLAPPED& operation) {
  return through(Call::pipe_listen, handle, 0, [&](std::size_t) {
    operation = {};
    if (::ConnectNamedPipe(object(handle), &operation) != 0) return 0;
    const DWORD error = ::GetLastError();
    // It is there already, or has even gone again: then that is what shows in reading.
    if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) return 0;
    if (error != ERROR_IO_PENDING) return failed_with(error);
    return errno = EINPROGRESS, -1;
  });
}
std::ptrdiff_t write_pipe(NativeHandle handle, const void* from, std::size_t size,
                          OVERLAPPED& operation) {
  return through(Call::write, handle, size, [&](std::size_t n) -> std::ptrdiff_t {
    operation = {};
    DWORD count = 0;
    if (::WriteFile(object(handle), from, fits(n), &count, &operation) != 0) {
      return static_cast<std::ptrdiff_t>(count);
    }
    const DWORD error = ::GetLastError();
    if (error != ERROR_IO_PENDING) return failed_with(error);
    return errno = EINPROGRESS, -1;
  });
}
int error_of(const OVERLAPPED& operation) noexcept {
  const auto status = static_cast<NTSTATUS>(operation.Internal);
  return status >= 0 ? 0 : errno_of(::RtlNtStatusToDosError(status));
}
void cancel_all(NativeHandle handle) noexcept { ::CancelIoEx(object(handle), nullptr); }

bool has_messages(NativeHandle handle) noexcept {
  DWORD flags = 0;
  return ::GetNamedPipeInfo(object(handle), &flags, nullptr, nullptr, nullptr) != 0 &&
         (flags & PIPE_TYPE_MESSAGE) != 0;
}

std::ptrdiff_t read_pipe(NativeHandle handle, NativeHandle event, bool by_messages, void* into,
                         std::size_t size) {
  return through(Call::read, handle, size, [&](std::size_t n) -> std::ptrdiff_t {
    const auto ended = [](DWORD error) {
      return error == ERROR_BROKEN_PIPE || error == ERROR_HANDLE_EOF ||
             error == ERROR_PIPE_NOT_CONNECTED;
    };
    DWORD there = 0;
    if (::PeekNamedPipe(object(handle), nullptr, 0, nullptr, &there, nullptr) == 0) {
      const DWORD error = ::GetLastError();
      return ended(error) ? 0 : failed_with(error);
    }
    // In front of what comes there may be a message of no bytes, that only a reading takes away.
    if (there == 0 && !by_messages) return errno = EAGAIN, -1;
    const DWORD most = there == 0 ? fits(n) : std::min(fits(n), there);
    const auto taken = [](DWORD bytes) -> std::ptrdiff_t {
      return bytes == 0 ? (errno = EAGAIN, -1) : static_cast<std::ptrdiff_t>(bytes);
    };
    OVERLAPPED operation{};
    // An event whose lowest bit is set: no packet.
    operation.hEvent = reinterpret_cast<HANDLE>(event | 1);
    DWORD count = 0;
    if (::ReadFile(object(handle), into, most, &count, &operation) != 0) return taken(count);
    DWORD error = ::GetLastError();
    if (error == ERROR_IO_PENDING) {  // nothing was there, or another reader was faster
      ::CancelIoEx(object(handle), &operation);
      if (::GetOverlappedResult(object(handle), &operation, &count, TRUE) != 0) {
        return taken(count);
      }
      error = ::GetLastError();
      if (error == ERROR_OPERATION_ABORTED) return errno = EAGAIN, -1;
    }
    return ended(error) ? 0 : failed_with(error);
  });
}

NativeHandle duplicate(NativeHandle handle, bool inherited) {
  return through(Call::dup, handle, 0, [&](std::size_t) -> NativeHandle {
    HANDLE copy = nullptr;
    const HANDLE here = ::GetCurrentProcess();
    if (::DuplicateHandle(here, object(handle), here, &copy, 0, inherited ? TRUE : FALSE,
                          DUPLICATE_SAME_ACCESS) == 0) {
      return failed();
    }
    return number(copy);
  });
}
NativeHandle standard_handle(DWORD which) noexcept {
  const HANDLE handle = ::GetStdHandle(which);
  return handle == nullptr ? invalid_handle : number(handle);
}
NativeHandle open_null() {
  return through(Call::open, -1, 0, [&](std::size_t) {
    return checked_handle(::CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE,
                                        FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                        OPEN_EXISTING, 0, nullptr));
  });
}

int start_process(ProcessPlan& plan, StartedProcess& started) {
  return through(Call::spawn, -1, 0, [&](std::size_t) {
    STARTUPINFOEXW start{};
    start.StartupInfo.cb = sizeof start;
    start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    start.StartupInfo.hStdInput = plan.streams[0];
    start.StartupInfo.hStdOutput = plan.streams[1];
    start.StartupInfo.hStdError = plan.streams[2];
    std::unique_ptr<InheritedHandles> list;
    if (!plan.inherited.empty()) {
      list = std::make_unique<InheritedHandles>(plan.inherited);
      if (!*list) return failed();
      start.lpAttributeList = list->get();
    }
    PROCESS_INFORMATION process{};
    const BOOL runs = ::CreateProcessW(
        plan.program.c_str(), plan.line.data(), nullptr, nullptr, list ? TRUE : FALSE,
        plan.flags | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT,
        const_cast<wchar_t*>(plan.environment),
        plan.directory.empty() ? nullptr : plan.directory.c_str(), &start.StartupInfo, &process);
    if (runs == 0) return failed();
    ::CloseHandle(process.hThread);
    started = {number(process.hProcess), process.dwProcessId};
    return 0;
  });
}

int terminate(NativeHandle process) {
  return through(Call::kill, process, 0, [&](std::size_t) {
    return checked(::TerminateProcess(object(process), exit_by_us));
  });
}
bool has_exited(NativeHandle process) noexcept {
  return ::WaitForSingleObject(object(process), 0) == WAIT_OBJECT_0;
}
int exit_code(NativeHandle process, DWORD& code) {
  return through(Call::exit_code, process, 0, [&](std::size_t) {
    return checked(::GetExitCodeProcess(object(process), &code));
  });
}
int send_break(DWORD process_group) {
  return through(Call::kill, -1, 0, [&](std::size_t) {
    return checked(::GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, process_group));
  });
}
int await_exit(NativeHandle process, WAITORTIMERCALLBACK call, void* context, HANDLE& wait) {
  return through(Call::exit_wait, process, 0, [&](std::size_t) {
    return checked(::RegisterWaitForSingleObject(&wait, object(process), call, context, INFINITE,
                                                 WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE));
  });
}
void forget_exit(HANDLE wait, bool wait_for_call) noexcept {
  ::UnregisterWaitEx(wait, wait_for_call ? INVALID_HANDLE_VALUE : nullptr);
}
void post_for_sure(NativeHandle port, ULONG_PTR key, OVERLAPPED* packet) noexcept {
  while (::PostQueuedCompletionStatus(object(port), 0, key, packet) == 0) ::Sleep(1);
}

}  // namespace ferry::internal::calls
