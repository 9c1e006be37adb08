// The headers once more in the same program.
#include <ferry/ferry.hpp>

bool included_twice();
bool included_twice() { return ferry::Address{"127.0.0.1", 80}.to_string() == "127.0.0.1:80"; }
