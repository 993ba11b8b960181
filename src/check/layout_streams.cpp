#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "check/layout_holders.h"

namespace opweave::checking {
namespace {

/// Streams of devices serve one holder at a time.
class Streams {
 public:
  Streams(const LayoutFacts& facts, const LayoutHolders& holders, ViolationList& violations)
      : facts_(facts), holders_(holders), violations_(violations), count_(facts.cluster().device_count()) {}

  void check() {
    for (const Holder& holder : holders_.all()) {
      for (const std::string& stream : *holder.streams) require_stream(holder, stream);
    }
    std::vector<const Holder*> latest(has_stream_.size(), nullptr);  // of those seen, the one that ends last
    for (const Holder* holder : holders_.by_start()) {
      if (holder->start >= holder->end) continue;  // it occupies nothing
      for (const std::string& stream : *holder->streams) {
        const std::size_t first = number(stream) * count_;
        for (const DeviceId device : *holder->devices) {
          if (device.index() < count_) occupy(first + device.index(), holder, latest[first + device.index()]);
        }
      }
    }
    report();
  }

 private:
  struct Overlap {
    std::size_t resource;
    const Holder* earlier;
    const Holder* later;
  };

  /// Of a stream, in the order in which they are asked for.
  std::size_t number(const std::string& stream) {
    const auto known = std::ranges::find(streams_, stream);  // they are few
    const auto result = static_cast<std::size_t>(known - streams_.begin());
    if (known == streams_.end()) {
      streams_.emplace_back(stream);
      for (const Device& device : facts_.cluster().devices()) {
        has_stream_.push_back(std::ranges::find(device.streams, stream) != device.streams.end());
      }
    }
    return result;
  }

  void require_stream(const Holder& holder, const std::string& stream) {
    const std::size_t first = number(stream) * count_;
    for (const DeviceId device : *holder.devices) {
      if (device.index() >= count_) continue;  // another rule names those that do not exist
      if (holder.is_copy || has_stream_[first + device.index()]) continue;
      violations_.add(Rule::kStream, [&] {
        return fmt::format("{} holds stream \"{}\" of device {}, which has none", holders_.name(holder), stream,
                           facts_.name(device));
      });
    }
  }

  /// Intervals are half-open: one may start when another ends.
  void occupy(std::size_t resource, const Holder* holder, const Holder*& latest) {
    if (latest != nullptr && holder->start < latest->end) overlaps_.push_back({resource, latest, holder});
    if (latest == nullptr || holder->end > latest->end) latest = holder;
  }

  void report() {
    std::ranges::stable_sort(overlaps_, {}, &Overlap::resource);
    for (const auto& [resource, earlier, later] : overlaps_) {
      violations_.add(Rule::kStream, [&] {
        return fmt::format("{} runs until {} ns, but {} starts at {} ns on the same stream of device {}",
                           holders_.name(*earlier), earlier->end.value(), holders_.name(*later), later->start.value(),
                           facts_.name(DeviceId(resource % count_)));
      });
    }
  }

  const LayoutFacts& facts_;
  const LayoutHolders& holders_;
  ViolationList& violations_;
  const std::size_t count_;  // of devices
  std::vector<std::string_view> streams_;
  std::vector<bool> has_stream_;  // by stream and device
  std::vector<Overlap> overlaps_;
};

}  // namespace

void check_layout_streams(const LayoutFacts& facts, const LayoutHolders& holders, ViolationList& violations) {
  Streams(facts, holders, violations).check();
}

}  // namespace opweave::checking
