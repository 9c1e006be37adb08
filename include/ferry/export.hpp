// Which names a shared build of the library shows.
#pragma once

#if defined(FERRY_SHARED) && defined(_MSC_VER)
#if defined(FERRY_BUILDING)
#define FERRY_API __declspec(dllexport)
#else
#define FERRY_API __declspec(dllimport)
#endif
#elif defined(FERRY_SHARED) && defined(__GNUC__)
#define FERRY_API __attribute__((visibility("default")))
#else
#define FERRY_API
#endif
