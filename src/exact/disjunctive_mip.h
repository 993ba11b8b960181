/// The scheduling problem as an integer program over orders, with continuous time. Symbols and proof:
/// docs/mathematical-model.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "exact/mip_model.h"
#include "exact/mip_placement.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"

namespace opweave::exact {

/// Builds the model and reads its solutions. Its size does not depend on durations, but its relaxation is
/// weak: for small problems and neighbourhoods.
class DisjunctiveMip {
 public:
  /// Schedules of makespan at most `upper_bound` ticks (the horizon of the space if not given): every
  /// big constant follows from it.
  explicit DisjunctiveMip(std::shared_ptr<const ScheduleSpace> space,
                          std::optional<std::int64_t> upper_bound = std::nullopt, bool named = false);
  DisjunctiveMip(const DisjunctiveMip&) = delete;
  DisjunctiveMip& operator=(const DisjunctiveMip&) = delete;

  /// Nonzeros that the model will have at most, up to a small factor, before it is built.
  [[nodiscard]] static std::size_t size(const ScheduleSpace& space);

  [[nodiscard]] const MipModel& model() const { return model_; }
  /// Values of all columns that say the same as a schedule; they satisfy the model if it is valid.
  [[nodiscard]] std::vector<double> values_of(const Schedule& schedule) const;
  void start_from(const Schedule& schedule) { model_.set_start(values_of(schedule)); }
  /// What values say, in nanoseconds.
  [[nodiscard]] RoughSchedule read(std::span<const double> values) const;

 private:
  using Expression = MipModel::Expression;
  /// A task or a delivery: tasks first, in order of id.
  using Node = std::size_t;

  void add_nodes();
  void add_precedence();
  void find_closure();
  void add_disjunctions();
  void add_disjunction(Node a, Node b, const std::vector<std::pair<Expression, Expression>>& meetings);
  void add_memory(DeviceId device);
  void add_makespan();
  void add_load_cuts();

  [[nodiscard]] Node node_of_delivery(std::size_t delivery) const { return problem_.task_count() + delivery; }
  [[nodiscard]] Expression start(Node node) const { return Expression::column(starts_[node]); }
  [[nodiscard]] Expression end(Node node) const { return start(node) + durations_[node]; }
  [[nodiscard]] double latest_end(Node node) const { return latest_end_[node]; }
  [[nodiscard]] double earliest_start(Node node) const { return model_.lower()[starts_[node]]; }
  /// Binary that may be 1 only if `earlier` ends before `later` starts; constant where that is known.
  [[nodiscard]] Expression ends_before(Node earlier, Node later);
  /// Binary that may be 1 only if `earlier` starts a tick or more before `later` starts.
  [[nodiscard]] double least_lead() const;
  [[nodiscard]] Expression starts_before(Node earlier, Node later);
  /// `from` precedes `to` in every schedule.
  [[nodiscard]] bool precedes(Node from, Node to) const { return closure_[from][to]; }

  /// A binary over two nodes, to be set from a schedule.
  struct OrderColumn {
    MipModel::Column column;
    Node first;
    Node second;
    enum class Meaning : std::uint8_t { kEndsBeforeStart, kStartsBeforeStart } meaning;
  };
  struct Live {
    MipModel::Column column;
    std::vector<Expression> at_least;
  };
  /// Bytes on a device for as long as one of the uses lasts.
  struct Use {
    Node first;            ///< from its start
    Node last;             ///< to its end
    Expression condition;  ///< 1 if both are there, at most 0 otherwise
  };
  struct Residence {
    double units;  ///< of the device's memory
    std::vector<Use> uses;
  };
  /// The value on the device; `arrivals` gets the nodes that bring it there.
  [[nodiscard]] Residence residence_of(ValueId value, DeviceId device, std::set<Node>& arrivals) const;
  /// What lies on the device when the node starts is at most its memory.
  void add_level(Node now, DeviceId device, const std::vector<Residence>& residences);

  std::shared_ptr<const ScheduleSpace> space_;
  const Problem& problem_;
  double upper_bound_;
  MipModel model_;
  MipPlacement placement_;
  std::vector<MipModel::Column> starts_;
  std::vector<Expression> durations_;
  std::vector<double> latest_end_;
  std::vector<std::vector<bool>> closure_;
  std::map<std::pair<Node, Node>, Expression> ends_before_;
  std::map<std::pair<Node, Node>, Expression> starts_before_;
  std::vector<OrderColumn> orders_;
  std::vector<Live> live_;
  MipModel::Column makespan_ = 0;
};

}  // namespace opweave::exact
