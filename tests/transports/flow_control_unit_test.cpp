#include "transports/flow_control.hpp"

#include "support/catch.hpp"

#include <limits>

using ferry::WriteBufferLimits;
using ferry::WriteBufferMarks;
using ferry::internal::FlowControl;

namespace {

using Mark = std::optional<std::int64_t>;
constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();

// What the marks given become.
WriteBufferLimits limits_of(Mark high, Mark low) {
  FlowControl flow;
  flow.set({high, low});
  return flow.limits();
}

void check_refused(Mark high, Mark low) {
  INFO("high " << high.value_or(-999) << ", low " << low.value_or(-999));
  FlowControl flow;
  flow.set({70, 30});
  CHECK_THROWS_AS(flow.set({high, low}), std::invalid_argument);
  CHECK(flow.limits() == WriteBufferLimits{30, 70});
}

}  // namespace

TEST_CASE("the marks are 64 KiB and 16 KiB unless somebody sets them", "[S-033][C-20][T-025]") {
  CHECK(FlowControl::default_high == 65536);
  CHECK(FlowControl{}.limits() == WriteBufferLimits{16384, 65536});
  CHECK(limits_of({}, {}) == WriteBufferLimits{16384, 65536});
  FlowControl flow;
  flow.set({7, 3});
  flow.set({});
  CHECK(flow.limits() == WriteBufferLimits{16384, 65536});
}

TEST_CASE("one mark is made from the other", "[S-034][S-035][C-02][C-20][T-025]") {
  CHECK(limits_of(100, {}) == WriteBufferLimits{25, 100});
  CHECK(limits_of(3, {}) == WriteBufferLimits{0, 3});
  CHECK(limits_of(0, {}) == WriteBufferLimits{0, 0});
  CHECK(limits_of({}, 100) == WriteBufferLimits{100, 400});
  CHECK(limits_of({}, 0) == WriteBufferLimits{0, 0});
  CHECK(limits_of(100, 7) == WriteBufferLimits{7, 100});
  CHECK(limits_of(100, 100) == WriteBufferLimits{100, 100});
  CHECK(limits_of(100, 0) == WriteBufferLimits{0, 100});
  CHECK(limits_of(0, 0) == WriteBufferLimits{0, 0});
}

TEST_CASE("marks that are crossed or negative are refused", "[S-031][S-032][C-02][T-025]") {
  check_refused(99, 100);
  check_refused(0, 5);
  check_refused(0, 1);
  for (const std::int64_t negative : {std::int64_t{-1}, std::int64_t{-3}, least}) {
    check_refused(negative, {});
    check_refused({}, negative);
    check_refused(negative, negative);
    check_refused(100, negative);
    check_refused(negative, 100);
  }
}

TEST_CASE("a mark that is too large to be reached is one all the same", "[S-034][T-025]") {
  const auto huge = static_cast<std::size_t>(most);
  CHECK(limits_of(most, {}) == WriteBufferLimits{huge / 4, huge});
  CHECK(limits_of(most, most) == WriteBufferLimits{huge, huge});
  CHECK(limits_of({}, most / 4) == WriteBufferLimits{huge / 4, huge / 4 * 4});
  CHECK(limits_of({}, most / 4 + 1) == WriteBufferLimits{huge / 4 + 1, huge});
  CHECK(limits_of({}, most) == WriteBufferLimits{huge, huge});
}

TEST_CASE("strictly over high pauses, low or less resumes", "[C-01][S-081][S-036][T-027]") {
  FlowControl flow;
  flow.set({70, 30});
  CHECK_FALSE(flow.must_pause(69));
  CHECK_FALSE(flow.must_pause(70));
  CHECK(flow.must_pause(71));
  CHECK(flow.over(71));
  CHECK_FALSE(flow.over(70));
  CHECK_FALSE(flow.must_resume(0));  // it was never paused

  flow.set_paused(true);
  CHECK_FALSE(flow.must_pause(71));  // once is enough
  CHECK_FALSE(flow.must_resume(31));
  CHECK(flow.must_resume(30));
  CHECK(flow.must_resume(29));

  flow.set({70, 0});
  CHECK_FALSE(flow.must_resume(1));
  CHECK(flow.must_resume(0));
  flow.set({30, 30});
  CHECK(flow.must_resume(30));
  flow.set_paused(false);
  CHECK_FALSE(flow.must_pause(30));
  CHECK(flow.must_pause(31));
  flow.set({0});
  CHECK_FALSE(flow.must_pause(0));
  CHECK(flow.must_pause(1));
}

TEST_CASE("another kind of transport brings its own default", "[C-20][T-025]") {
  FlowControl flow;
  flow.set({}, 512 * 1024);
  CHECK(flow.limits() == WriteBufferLimits{128 * 1024, 512 * 1024});
  flow.set({100, {}}, 512 * 1024);
  CHECK(flow.limits() == WriteBufferLimits{25, 100});
}
