#include <fmt/format.h>

#include "check/occupation.h"
#include "check/rules.h"

namespace opweave::checking {

void check_streams(const Reading& reading, Findings& findings) {
  const Cluster& cluster = reading.cluster();
  const std::size_t stream_count = cluster.stream_names().size();
  std::vector<Occupation> occupations;
  occupations.reserve(reading.runs().size());
  std::vector<std::size_t> streams;
  for (std::size_t i = 0; i < reading.graph().operators().size(); ++i) {
    streams.clear();
    for (const std::string& name : reading.graph().operators()[i].streams) {
      // A stream that no device has is a matter of rule 1.
      if (const auto found = cluster.find_stream(name)) streams.push_back(found->index());
    }
    for (const Run& run : reading.runs_of(OperatorId(i))) {
      if (!run.present) continue;
      const auto index = static_cast<std::size_t>(&run - reading.runs().data());
      for (const DeviceId device : run.devices) {
        for (const std::size_t stream : streams) {
          occupations.push_back({device.index() * stream_count + stream, run.start, run.end, index});
        }
      }
    }
  }
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    findings.add(Rule::kStream, [&] {
      return fmt::format("stream \"{}\" of device {} runs {} until {} ns, but {} starts at {} ns",
                         cluster.stream_names()[later.resource % stream_count],
                         reading.name(DeviceId(later.resource / stream_count)),
                         reading.name(reading.runs()[earlier.user]), earlier.end.value(),
                         reading.name(reading.runs()[later.user]), later.start.value());
    });
  });
}

}  // namespace opweave::checking
