#include <fmt/format.h>

#include "check/occupation.h"
#include "check/rules.h"

namespace opweave::checking {

namespace {

/// Numbers behind those of the cluster's streams, for copies where no device names their streams.
constexpr std::size_t kCopyStreams = 2;

/// A number for a stream, the same for the same name; of a stream that no device has, which is a matter of rule 1, one
/// that is too large.
std::size_t number_of(const Cluster& cluster, std::string_view name) {
  if (const auto found = cluster.find_stream(name)) return found->index();
  const std::size_t known = cluster.stream_names().size();
  if (name == kCopyOutStream) return known;
  return name == kCopyInStream ? known + 1 : known + kCopyStreams;
}

std::string_view name_of(const Cluster& cluster, std::size_t number) {
  const std::size_t known = cluster.stream_names().size();
  if (number < known) return cluster.stream_names()[number];
  return number == known ? kCopyOutStream : kCopyInStream;
}

}  // namespace

void check_streams(const Reading& reading, ViolationList& violations) {
  const Cluster& cluster = reading.cluster();
  const std::size_t stream_count = cluster.stream_names().size() + kCopyStreams;
  std::vector<Occupation> occupations;
  occupations.reserve(reading.runs().size());
  std::vector<std::vector<std::size_t>> streams;  // by operator
  for (const Operator& op : reading.graph().operators()) {
    streams.emplace_back();
    for (const std::string& name : op.streams) {
      const std::size_t stream = number_of(cluster, name);
      if (stream < stream_count) streams.back().push_back(stream);
    }
  }
  for (std::size_t i = 0; i < reading.runs().size(); ++i) {
    const Run& run = reading.runs()[i];
    if (!run.present) continue;
    for (const DeviceId device : run.devices) {
      for (const std::size_t stream : streams[run.op.index()]) {
        occupations.push_back({device.index() * stream_count + stream, run.start, run.end, i});
      }
    }
  }
  // Copies have their streams on every device with a host; operators may have named them too.
  const std::size_t out = number_of(cluster, kCopyOutStream);
  const std::size_t in = number_of(cluster, kCopyInStream);
  for (std::size_t i = 0; i < reading.host_copies().size(); ++i) {
    const HostCopy& copy = reading.host_copies()[i];
    for (const DeviceId device : copy.devices) {
      occupations.push_back(
          {device.index() * stream_count + (copy.is_out ? out : in), copy.start, copy.end, reading.runs().size() + i});
    }
  }
  const std::size_t reduces = number_of(cluster, reading.training().reduction_stream);
  const std::size_t first_reduction = reading.runs().size() + reading.host_copies().size();
  for (std::size_t i = 0; i < reading.reductions().size() && reduces < stream_count; ++i) {
    const GradientReduction& one = reading.reductions()[i];
    for (const DeviceId device : one.devices) {
      occupations.push_back({device.index() * stream_count + reduces, one.start, one.end, first_reduction + i});
    }
  }
  const auto what = [&](std::size_t user) {
    if (user >= first_reduction) {
      const ParameterId parameter = reading.reductions()[user - first_reduction].parameter;
      return fmt::format("the reduction of gradients of \"{}\"", reading.graph().at(parameter).name);
    }
    if (user < reading.runs().size()) {
      const Run& run = reading.runs()[user];
      return reading.name(run) + (run.again ? " again" : "");
    }
    const HostCopy& copy = reading.host_copies()[user - reading.runs().size()];
    return fmt::format("a copy of {}", reading.name(copy.tensor, copy.copy));
  };
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    violations.add(Rule::kStream, [&] {
      return fmt::format("stream \"{}\" of device {} runs {} until {} ns, but {} starts at {} ns",
                         name_of(cluster, later.resource % stream_count),
                         reading.name(DeviceId(later.resource / stream_count)), what(earlier.user), earlier.end.value(),
                         what(later.user), later.start.value());
    });
  });
}

}  // namespace opweave::checking
