#include <fmt/format.h>

#include <algorithm>

#include "check/occupation.h"
#include "check/rules.h"

namespace opweave::checking {
namespace {

/// When the value that a transfer carries is there; nothing where nothing brings it back, of which rule "modes" speaks.
std::optional<Duration> made_at(const Reading& reading, const Run& maker, const KnownTransfer& transfer) {
  if (!transfer.again) return maker.end;
  if (reading.mode(transfer.value) == MemoryMode::kDrop) {
    const Run* again = reading.again(maker);
    return again != nullptr ? std::optional(again->end) : std::nullopt;
  }
  for (const HostCopy& copy : reading.host_copies()) {
    if (copy.value == transfer.value && !copy.is_out) return copy.end;
  }
  return std::nullopt;
}

void check_one(const Reading& reading, const Routes& routes, const KnownTransfer& transfer, ViolationList& violations) {
  const auto describe = [&] {
    return fmt::format("transfer of {} from {} to {}", reading.name(transfer.tensor, transfer.copy),
                       reading.name(transfer.source), reading.name(transfer.destination));
  };
  const Run* maker = reading.maker(transfer.tensor, transfer.copy);
  if (maker != nullptr && maker->present) {
    if (!std::binary_search(maker->devices.begin(), maker->devices.end(), transfer.source)) {
      violations.add(Rule::kTransfer, [&] {
        return fmt::format("{}: {} makes it on {}", describe(), reading.name(*maker), reading.names(maker->devices));
      });
    }
    const std::optional<Duration> made = made_at(reading, *maker, transfer);
    if (made && transfer.start < *made) {
      violations.add(Rule::kTransfer, [&] {
        return fmt::format("{} starts at {} ns, but {} makes it at {} ns", describe(), transfer.start.value(),
                           reading.name(*maker), made->value());
      });
    }
  }
  const Passage* passage = routes.of(transfer);
  if (passage == nullptr) {
    violations.add(Rule::kTransfer, [&] { return fmt::format("{}: no route joins them", describe()); });
    return;
  }
  const Wide expected = passage->lasts(reading.graph().at(transfer.tensor).size);
  const Wide lasts = Wide{transfer.end.value()} - transfer.start.value();
  if (lasts != expected) {
    violations.add(Rule::kTransfer, [&] {
      return fmt::format("{} lasts from {} to {} ns, which is {} ns, expected {} ns", describe(),
                         transfer.start.value(), transfer.end.value(), lasts, expected);
    });
  }
}

/// Key 2d: device d sends; 2d + 1: it receives.
void check_endpoints(const Reading& reading, ViolationList& violations) {
  std::vector<Occupation> occupations;
  for (std::size_t i = 0; i < reading.transfers().size(); ++i) {
    const KnownTransfer& transfer = reading.transfers()[i];
    occupations.push_back({2 * transfer.source.index(), transfer.start, transfer.end, i});
    occupations.push_back({2 * transfer.destination.index() + 1, transfer.start, transfer.end, i});
  }
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    violations.add(Rule::kTransfer, [&] {
      const KnownTransfer& a = reading.transfers()[earlier.user];
      const KnownTransfer& b = reading.transfers()[later.user];
      return fmt::format("device {} {} {} until {} ns, but {} starts at {} ns (contention \"endpoint\")",
                         reading.name(DeviceId(later.resource / 2)), later.resource % 2 == 0 ? "sends" : "receives",
                         reading.name(a.tensor, a.copy), a.end.value(), reading.name(b.tensor, b.copy),
                         b.start.value());
    });
  });
}

void check_links(const Reading& reading, const Routes& routes, ViolationList& violations) {
  std::vector<Occupation> occupations;
  for (std::size_t i = 0; i < reading.transfers().size(); ++i) {
    const KnownTransfer& transfer = reading.transfers()[i];
    const Passage* passage = routes.of(transfer);
    if (passage == nullptr) continue;
    for (const std::uint64_t key : passage->links) {
      occupations.push_back({key, transfer.start, transfer.end, i});
    }
  }
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    violations.add(Rule::kTransfer, [&] {
      const KnownTransfer& a = reading.transfers()[earlier.user];
      const KnownTransfer& b = reading.transfers()[later.user];
      return fmt::format("{} carries {} until {} ns, but {} starts at {} ns (contention \"link\")",
                         routes.link_name(later.resource), reading.name(a.tensor, a.copy), a.end.value(),
                         reading.name(b.tensor, b.copy), b.start.value());
    });
  });
}

}  // namespace

void check_transfers(const Reading& reading, const Routes& routes, ViolationList& violations) {
  for (const KnownTransfer& transfer : reading.transfers()) check_one(reading, routes, transfer, violations);
  switch (reading.plan().settings.contention) {
    case Contention::kNone:
      break;
    case Contention::kEndpoint:
      check_endpoints(reading, violations);
      break;
    case Contention::kLink:
      check_links(reading, routes, violations);
      break;
  }
}

}  // namespace opweave::checking
