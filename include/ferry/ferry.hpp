// ferry: asyncio's transports and protocols, for C++. Includes everything but format.hpp.
#pragma once

#include <ferry/address.hpp>
#include <ferry/bytes.hpp>
#include <ferry/callback.hpp>
#include <ferry/error.hpp>
#include <ferry/future.hpp>
#include <ferry/handle.hpp>
#include <ferry/info.hpp>
#include <ferry/loop.hpp>
#include <ferry/pipe.hpp>
#include <ferry/process.hpp>
#include <ferry/protocols.hpp>
#include <ferry/server.hpp>
#include <ferry/socket.hpp>
#include <ferry/ssl.hpp>
#include <ferry/subprocess.hpp>
#include <ferry/task.hpp>
#include <ferry/transports.hpp>
