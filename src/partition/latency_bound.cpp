#include <algorithm>
#include <map>

#include "core/infinity.h"
#include "partition/latency.h"

namespace opweave::partition {
namespace {

class PathBound {
 public:
  PathBound(const MsrInstance& instance, const Budget& budget)
      : instance_(instance), budget_(budget), count_(instance.nodes.size()), words_((count_ + 63) / 64) {
    find_classes();
    sort();
    find_relatives();
  }

  double best() {
    // Paths that are long in time, in bytes, in transfers, and in mixtures of these.
    double time = 0;
    double bytes = 0;
    double transfer = 0;
    for (std::uint32_t node = 0; node < count_; ++node) {
      time += least_time(node);
      bytes += instance_.nodes[node].size_bytes;
      transfer += instance_.nodes[node].output_ms;
    }
    double bound = 0;
    for (const double by_bytes : {0.0, 0.3, 1.0, 10.0}) {
      for (const double by_transfer : {0.0, 0.1, 1.0}) {
        if (budget_.expired()) return bound;
        bound = std::max(bound, cut(longest_path([&](std::uint32_t node) {
                           const MsrInstance::Node& n = instance_.nodes[node];
                           return least_time(node) / std::max(time, 1e-300) +
                                  by_bytes * n.size_bytes / std::max(bytes, 1e-300) +
                                  by_transfer * n.output_ms / std::max(transfer, 1e-300);
                         })));
      }
    }
    return bound;
  }

 private:
  void find_classes() {
    std::map<std::int64_t, std::uint32_t> first_of_color;
    class_of_.resize(count_);
    std::vector<double> bytes(count_);
    std::vector<bool> supported(count_, true);
    for (std::uint32_t i = 0; i < count_; ++i) {
      const MsrInstance::Node& node = instance_.nodes[i];
      class_of_[i] = node.color_class ? first_of_color.emplace(*node.color_class, i).first->second : i;
      bytes[class_of_[i]] += node.size_bytes;
      if (!node.accelerator_supported) supported[class_of_[i]] = false;
    }
    for (std::uint32_t i = 0; i < count_; ++i) {
      const std::uint32_t c = class_of_[i];
      fits_accelerator_.push_back(instance_.accelerators > 0 && supported[c] &&
                                  bytes[c] <= instance_.accelerator_memory_bytes);
    }
  }

  void sort() {
    std::vector<std::uint32_t> waiting_for(count_);
    for (const auto& list : instance_.successors) {
      for (const std::uint32_t next : list) ++waiting_for[next];
    }
    for (std::uint32_t node = 0; node < count_; ++node) {
      if (waiting_for[node] == 0) order_.push_back(node);
    }
    for (std::size_t i = 0; i < order_.size(); ++i) {
      for (const std::uint32_t next : instance_.successors[order_[i]]) {
        if (--waiting_for[next] == 0) order_.push_back(next);
      }
    }
  }

  /// Descendants and ancestors of each node, itself included.
  void find_relatives() {
    after_.assign(count_ * words_, 0);
    before_.assign(count_ * words_, 0);
    const auto set = [&](std::vector<std::uint64_t>& sets, std::uint32_t node) {
      sets[node * words_ + node / 64] |= std::uint64_t{1} << node % 64;
    };
    const auto join = [&](std::vector<std::uint64_t>& sets, std::uint32_t to, std::uint32_t from) {
      for (std::size_t w = 0; w < words_; ++w) sets[to * words_ + w] |= sets[from * words_ + w];
    };
    for (std::size_t i = count_; i-- > 0;) {
      set(after_, order_[i]);
      for (const std::uint32_t next : instance_.successors[order_[i]]) join(after_, order_[i], next);
    }
    for (const std::uint32_t node : order_) {
      set(before_, node);
      for (const std::uint32_t next : instance_.successors[node]) join(before_, next, node);
    }
  }

  [[nodiscard]] double cpu_time(std::uint32_t node) const {
    return instance_.cpus > 0 ? instance_.nodes[node].cpu_ms : kInfinity;
  }
  [[nodiscard]] double least_time(std::uint32_t node) const {
    const double cpu = cpu_time(node);
    return fits_accelerator_[node] ? std::min(cpu, instance_.nodes[node].accelerator_ms) : cpu;
  }

  template <class Weight>
  std::vector<std::uint32_t> longest_path(const Weight& weight) const {
    std::vector<double> longest(count_);
    std::vector<std::uint32_t> follows(count_);
    std::uint32_t first = order_.front();
    for (std::size_t i = count_; i-- > 0;) {
      const std::uint32_t node = order_[i];
      follows[node] = node;
      for (const std::uint32_t next : instance_.successors[node]) {
        if (follows[node] == node || longest[next] > longest[follows[node]]) follows[node] = next;
      }
      longest[node] = weight(node) + (follows[node] == node ? 0 : longest[follows[node]]);
      if (longest[node] > longest[first]) first = node;
    }
    std::vector<std::uint32_t> path{first};
    while (follows[path.back()] != path.back()) path.push_back(follows[path.back()]);
    return path;
  }

  /// Least time to pass the path; 0 if the budget ends before it is known. A segment of it that runs on an accelerator
  /// brings all nodes between its ends along.
  [[nodiscard]] double cut(const std::vector<std::uint32_t>& path) const {
    const std::size_t segments = std::min<std::size_t>(instance_.accelerators, path.size());
    // least[i * (segments + 1) + s]: the first i nodes have ended, s accelerators have been used.
    std::vector<double> least((path.size() + 1) * (segments + 1), kInfinity);
    least[0] = 0;
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (budget_.expired()) return 0;
      const double* from = &least[i * (segments + 1)];
      for (std::size_t s = 0; s <= segments; ++s) {
        double& to = least[(i + 1) * (segments + 1) + s];
        to = std::min(to, from[s] + cpu_time(path[i]));
      }
      std::vector<std::uint64_t> held(words_);
      double work = i > 0 ? instance_.nodes[path[i - 1]].output_ms : 0;
      double bytes = 0;
      for (std::size_t j = i; j < path.size() && fits_accelerator_[path[j]]; ++j) {
        bool fits = true;
        for (std::size_t w = 0; w < words_; ++w) {
          std::uint64_t added = after_[path[i] * words_ + w] & before_[path[j] * words_ + w] & ~held[w];
          held[w] |= added;
          for (; added != 0; added &= added - 1) {
            const std::size_t node = 64 * w + static_cast<std::size_t>(__builtin_ctzll(added));
            fits = fits && fits_accelerator_[node];
            work += instance_.nodes[node].accelerator_ms;
            bytes += instance_.nodes[node].size_bytes;
          }
        }
        if (!fits || bytes > instance_.accelerator_memory_bytes) break;
        const double out = j + 1 < path.size() ? instance_.nodes[path[j]].output_ms : 0;
        for (std::size_t s = 0; s < segments; ++s) {
          double& to = least[(j + 1) * (segments + 1) + s + 1];
          to = std::min(to, from[s] + work + out);
        }
      }
    }
    const double* last = &least[path.size() * (segments + 1)];
    return *std::min_element(last, last + segments + 1);
  }

  const MsrInstance& instance_;
  const Budget& budget_;
  const std::size_t count_;
  const std::size_t words_;
  std::vector<std::uint32_t> class_of_;
  std::vector<bool> fits_accelerator_;
  std::vector<std::uint32_t> order_;
  std::vector<std::uint64_t> after_;
  std::vector<std::uint64_t> before_;
};

}  // namespace

double latency_bound(const MsrInstance& instance, const Budget& budget) {
  return instance.nodes.empty() ? 0 : PathBound(instance, budget).best();
}

}  // namespace opweave::partition
