// Windows' own headers, in the one order that works.
#pragma once

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif

#include <winsock2.h>

#include <ws2tcpip.h>

#include <windows.h>

#include <afunix.h>
#include <iphlpapi.h>
#include <netioapi.h>
#include <winternl.h>

// Words that anybody may want to use. (Windows' headers say FAR for the one.)
#undef near
#undef far
#undef NEAR
#undef FAR
#define NEAR
#define FAR
