// What helps to test protocols and transports of one's own. Not part of <ferry/ferry.hpp>.
#pragma once

#include <ferry/contract_checker.hpp>
#include <ferry/sim.hpp>
