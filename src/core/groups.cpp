#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include "core/problem_data.h"
#include "opweave/error.h"

namespace opweave::detail {
namespace {

/// A variant is one operator in one replica: the finest thing that colocation speaks about.
class GroupBuilder {
 public:
  explicit GroupBuilder(ProblemData& data)
      : data_(data),
        operators_(data.graph.operators()),
        replicas_(data.settings.training.replicas),
        parent_(operators_.size() * replicas_) {
    std::iota(parent_.begin(), parent_.end(), 0U);
  }

  void build() {
    join_variants();
    assign_groups();
    collect_parameters();
    build_options(data_);
    separate();
    for (const Parameter& parameter : data_.graph.parameters()) {
      require_no_overflow(parameter);
      data_.persistent.push_back(data_.settings.training.persistent_bytes(parameter.weights));
    }
  }

 private:
  void require_no_overflow(const Parameter& parameter) const {
    constexpr double kMost = 1e18;  // as for all bytes of a Problem together
    const Training& training = data_.settings.training;
    const double factor = 1 + training.gradient_bytes_per_weight_byte + training.optimizer_bytes_per_weight_byte;
    const double bytes = static_cast<double>(parameter.weights.value()) * factor;
    if (bytes <= kMost) return;
    throw InputError(
        fmt::format("parameter \"{}\" of {} bytes needs {:.3g} bytes with its gradients and optimizer state "
                    "(x {}), expected at most {:.0g}",
                    parameter.name, parameter.weights.value(), bytes, factor, kMost));
  }

  [[nodiscard]] std::uint32_t variant(std::size_t op, std::uint32_t replica) const {
    return static_cast<std::uint32_t>(op * replicas_ + replica);
  }
  [[nodiscard]] std::uint32_t variant(const Task& task) const { return variant(task.op.index(), task.replica); }

  std::uint32_t find(std::uint32_t v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }
  void join(std::uint32_t a, std::uint32_t b) {
    a = find(a);
    b = find(b);
    if (a != b) parent_[std::max(a, b)] = std::min(a, b);
  }

  void join_variants() {
    std::vector<std::uint32_t> reader(data_.graph.parameters().size() * replicas_, kNoIndex);
    std::map<std::pair<std::string_view, std::uint32_t>, std::uint32_t> member;
    for (std::size_t i = 0; i < operators_.size(); ++i) {
      for (std::uint32_t replica = 0; replica < replicas_; ++replica) {
        for (const ParameterId parameter : operators_[i].parameters) {
          std::uint32_t& first = reader[parameter.index() * replicas_ + replica];
          if (first == kNoIndex) first = variant(i, replica);
          join(first, variant(i, replica));
        }
        if (!operators_[i].colocation.empty()) {
          const auto [entry, is_new] = member.try_emplace({operators_[i].colocation, replica}, variant(i, replica));
          join(entry->second, variant(i, replica));
        }
      }
    }
  }

  void assign_groups() {
    std::vector<std::uint32_t> group_of_root(parent_.size(), kNoIndex);
    std::uint32_t count = 0;
    data_.group_of.reserve(data_.tasks.size());
    for (const Task& task : data_.tasks) {
      if (!is_bound_to_others(data_.graph.at(task.op))) {
        data_.group_of.emplace_back(count++);
        continue;
      }
      std::uint32_t& group = group_of_root[find(variant(task))];
      if (group == kNoIndex) group = count++;
      data_.group_of.emplace_back(group);
    }
    std::vector<std::size_t>& offsets = data_.group_tasks.offsets;
    offsets.assign(count + 1, 0);
    for (const GroupId group : data_.group_of) ++offsets[group.index() + 1];
    std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
    data_.group_tasks.items.resize(data_.tasks.size());
    std::vector<std::size_t> next(offsets.begin(), offsets.end() - 1);
    for (std::size_t t = 0; t < data_.tasks.size(); ++t) {
      data_.group_tasks.items[next[data_.group_of[t].index()]++] = TaskId(t);
    }
  }

  void collect_parameters() {
    std::vector<ParameterId> list;
    for (std::size_t g = 0; g < data_.group_tasks.size(); ++g) {
      list.clear();
      for (const TaskId task : data_.group_tasks[g]) {
        const Operator& op = data_.graph.at(data_.tasks[task.index()].op);
        list.insert(list.end(), op.parameters.begin(), op.parameters.end());
      }
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      data_.group_parameters.items.insert(data_.group_parameters.items.end(), list.begin(), list.end());
      data_.group_parameters.close_list();
    }
  }

  void separate() {
    std::map<std::string_view, std::vector<std::pair<std::uint32_t, std::uint32_t>>>
        members;  // name -> (group, operator)
    for (std::size_t t = 0; t < data_.tasks.size(); ++t) {
      const std::size_t op = data_.tasks[t].op.index();
      for (const std::string& name : operators_[op].anti_colocation) {
        members[name].emplace_back(static_cast<std::uint32_t>(data_.group_of[t].index()),
                                   static_cast<std::uint32_t>(op));
      }
    }
    double pairs = 0;
    for (auto& [name, list] : members) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      pairs += static_cast<double>(list.size()) * static_cast<double>(list.size());
    }
    constexpr double kMostPairs = 1e8;
    if (pairs > kMostPairs) {
      throw InputError(
          fmt::format("anti-colocation keeps {:.3g} pairs of operator instances apart, expected at most {:.0g}", pairs,
                      kMostPairs));
    }
    std::vector<std::vector<GroupId>> apart(data_.group_tasks.size());
    for (auto& [name, list] : members) {
      for (const auto& [group_a, op_a] : list) {
        for (const auto& [group_b, op_b] : list) {
          if (op_a == op_b) continue;
          if (group_a == group_b) {
            throw InputError(fmt::format(
                "operators \"{}\" and \"{}\" must share a device and must not (anti-colocation group \"{}\")",
                operators_[std::min(op_a, op_b)].name, operators_[std::max(op_a, op_b)].name, name));
          }
          apart[group_a].emplace_back(group_b);
        }
      }
    }
    for (std::vector<GroupId>& list : apart) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      data_.group_apart.items.insert(data_.group_apart.items.end(), list.begin(), list.end());
      data_.group_apart.close_list();
    }
  }

  ProblemData& data_;
  const std::vector<Operator>& operators_;
  const std::uint32_t replicas_;
  std::vector<std::uint32_t> parent_;
};

}  // namespace

void build_groups(ProblemData& data) { GroupBuilder(data).build(); }

}  // namespace opweave::detail
