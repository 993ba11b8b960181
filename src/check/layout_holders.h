/// What holds streams of devices in plans with options.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "check/layout_facts.h"

namespace opweave::checking {

/// Something that holds streams of devices.
struct Holder {
  const std::vector<std::string>* streams;
  const std::vector<DeviceId>* devices;
  Duration start;
  Duration end;
  std::variant<const PlannedTask*, const LayoutMovement*, const FormReturn*> what;
  bool is_copy = false;  ///< to hosts or from them, on streams that every device with a host has
};

/// Everything that does in a plan. Of what does not exist, rule "modes" has spoken.
class LayoutHolders {
 public:
  explicit LayoutHolders(const LayoutFacts& facts);
  LayoutHolders(const LayoutHolders&) = delete;
  LayoutHolders& operator=(const LayoutHolders&) = delete;

  /// Tasks, movements, and what brings values back, each as the plan lists them.
  [[nodiscard]] const std::vector<Holder>& all() const { return all_; }
  /// By start, then end: sorted once, for all devices and streams together.
  [[nodiscard]] const std::vector<const Holder*>& by_start() const { return by_start_; }
  /// Made when it is said: nearly all are not.
  [[nodiscard]] std::string name(const Holder& holder) const;

 private:
  const LayoutFacts& facts_;
  const std::vector<std::string> movement_streams_;
  std::vector<Holder> all_;
  std::vector<const Holder*> by_start_;
};

}  // namespace opweave::checking
