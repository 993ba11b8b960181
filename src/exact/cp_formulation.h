/// The scheduling problem as a constraint program: optional intervals per mode, no-overlap per stream and
/// channel, memory as capacity over lifetimes. Symbols and proof: docs/mathematical-model.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "exact/cp_model.h"
#include "exact/cp_placement.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"

namespace opweave::exact {

/// The part of a schedule that a model may change; the rest stays as a reference schedule has it.
/// Everything is in ticks of the space. Built by `window_frame` (window.h).
struct Frame {
  enum class Role : std::uint8_t {
    kFree,     ///< anything is decided anew
    kOrdered,  ///< keeps its mode and its order among its like, may shift
    kFrozen,   ///< keeps its times
    kLater,    ///< comes after the frame: only its longest path to the end counts
  };
  std::vector<Role> tasks;                      ///< by TaskId
  std::vector<Role> deliveries;                 ///< by index in the space
  std::vector<std::int64_t> task_starts;        ///< by TaskId, in the reference
  std::vector<std::int64_t> delivery_starts;    ///< by index in the space; of what is not free, in the reference
  std::vector<std::uint32_t> delivery_sources;  ///< by index in the space; of what is not free, in the reference
  std::vector<std::int64_t> task_tails;         ///< of later tasks: ticks from the start to the end of the schedule
  std::vector<std::int64_t> delivery_tails;     ///< the same of later deliveries
  std::vector<std::int64_t> stream_tails;       ///< by device * streams + stream: of the first later task there
  std::int64_t begin = 0;                       ///< free and ordered things start here or later
  std::int64_t later_from = 0;                  ///< later things start here or later
  std::int64_t end = 0;                         ///< makespan of the reference
  std::int64_t floor = 0;                       ///< makespan that the rest needs whatever happens in the frame
};

/// What a model will be made of, known before it is built.
struct CpSize {
  std::size_t intervals = 0;
  std::size_t constraints = 0;
};
[[nodiscard]] CpSize cp_size(const ScheduleSpace& space);

/// Builds the model and reads its solutions.
class CpFormulation {
 public:
  /// The whole problem, with makespan at most `upper_bound` ticks (the horizon of the space if not given) and at least
  /// `floor`.
  /// \pre no schedule is shorter than the floor
  explicit CpFormulation(std::shared_ptr<const ScheduleSpace> space,
                         std::optional<std::int64_t> upper_bound = std::nullopt, std::int64_t floor = 0);
  /// The frame only.
  CpFormulation(std::shared_ptr<const ScheduleSpace> space, Frame frame);

  [[nodiscard]] const CpModel& model() const { return model_; }
  /// When the value is sent to the device; u in the formulas.
  [[nodiscard]] const CpPlacement::Truth& sent(std::size_t delivery) const { return deliveries_[delivery].present; }
  /// Which option each group takes.
  [[nodiscard]] const CpPlacement& placement() const { return placement_; }
  /// Lets the solver begin with a schedule. No effect on what is valid.
  void hint(const Schedule& schedule);
  /// Values of all variables that say the same as the schedule; they satisfy the model exactly if the
  /// schedule is valid and within the frame.
  [[nodiscard]] std::vector<std::int64_t> values_of(const Schedule& schedule) const;
  /// What values say, in nanoseconds. Tasks and transfers that come later are moved behind the frame as a block.
  [[nodiscard]] RoughSchedule read(std::span<const std::int64_t> values) const;
  /// False if bytes had to be rounded up to be computed with: then solutions are valid, but bounds and
  /// infeasibility are those of a restricted problem.
  [[nodiscard]] bool memory_is_exact() const { return memory_is_exact_; }

 private:
  using Affine = CpModel::Affine;
  using Literal = CpModel::Literal;
  using Role = Frame::Role;

  using Truth = CpPlacement::Truth;

  struct TaskParts {
    Affine start;
    Affine end;
  };
  struct DeliveryParts {
    Truth present;
    std::vector<Truth> from;  ///< by source
    Affine start;
    Affine end;
  };
  /// Bytes of a value on a device.
  struct ResidenceParts {
    std::optional<CpModel::Variable> start;  ///< at most all of `starts`
    std::optional<CpModel::Variable> end;    ///< at least all of `ends`
    std::optional<Literal> present;          ///< if any of `ends` counts
    std::vector<Affine> starts;
    std::vector<std::pair<Affine, Truth>> ends;
  };
  struct Demand {
    CpModel::Interval interval;
    std::int64_t bytes;
  };
  struct PersistentParts {
    std::vector<GroupId> groups;
    DeviceId device;
    CpModel::Variable literal;
  };

  void build();
  void add_tasks();
  void add_deliveries();
  void add_delivery(std::size_t index);
  /// One that the frame does not decide anew.
  void add_kept_delivery(std::size_t index);
  /// u of the formulas: some consumer is at the destination, and the producer is not.
  [[nodiscard]] Truth need_of(const ScheduleSpace::Delivery& delivery);
  /// One source if it happens, and that where the producer is.
  void choose_source(const ScheduleSpace::Delivery& delivery, DeliveryParts& parts);
  void add_precedence();
  void add_streams();
  void add_channels();
  /// Things that keep their order, with their starts in the reference.
  struct Ordered {
    std::int64_t start;
    Affine from;
    Affine until;
  };
  void chain(std::vector<Ordered> things);
  void add_memory();
  void add_memory_of(DeviceId device, const std::vector<ValueId>& values);
  std::int64_t add_persistent(DeviceId device, std::vector<Demand>& demands);
  void add_workspaces(DeviceId device, std::vector<Demand>& demands);
  void add_value_lifetime(ValueId value, DeviceId device, std::vector<Demand>& demands);
  void add_input_lifetime(ValueId value, DeviceId device, std::vector<Demand>& demands);
  /// The least end that is at least all of `ends`: one of them if that is clear, else a variable.
  Affine last_of(std::vector<std::pair<Affine, Truth>> ends);
  /// [start, end) where `present`, unless it is over before the frame.
  void add_lifetime(Affine start, Affine end, const Truth& present, std::int64_t bytes, std::vector<Demand>& demands);
  void add_capacity(std::vector<Demand> demands, std::int64_t capacity);
  void add_objective();
  CpModel::Variable add_variable(std::int64_t lower, std::int64_t upper);
  void forbid(const Truth& truth);

  [[nodiscard]] Role role(TaskId task) const { return frame_.tasks[task.index()]; }
  [[nodiscard]] bool is_later(TaskId task) const { return role(task) == Role::kLater; }
  [[nodiscard]] Truth placed_on(TaskId task, DeviceId device) const;
  [[nodiscard]] CpModel::Interval interval_of(TaskId task, std::uint32_t option);
  [[nodiscard]] CpModel::Interval interval_of_delivery(std::size_t delivery, std::size_t source);
  [[nodiscard]] static Affine constant(std::int64_t value) { return {std::nullopt, value}; }
  /// False if the condition never holds.
  static bool add_condition(std::vector<Literal>& when, const Truth& truth);
  [[nodiscard]] Literal literal_of(const Truth& truth);
  [[nodiscard]] static std::int64_t value_of(const Affine& affine, std::span<const std::int64_t> values);
  static void set(const Affine& affine, std::int64_t value, std::vector<std::int64_t>& values);
  /// Parts of values_of(), each from what those before it have set.
  void set_deliveries(const Schedule& schedule, std::vector<std::int64_t>& values) const;
  void set_memory(std::vector<std::int64_t>& values) const;
  /// The makespan of the model, which sees what comes later through longest paths.
  [[nodiscard]] std::int64_t least_makespan(std::span<const std::int64_t> values) const;

  std::shared_ptr<const ScheduleSpace> space_;
  const Problem& problem_;
  Frame frame_;
  bool is_whole_;
  CpModel model_;
  CpPlacement placement_;
  std::vector<TaskParts> tasks_;
  std::vector<DeliveryParts> deliveries_;
  std::vector<std::vector<std::optional<CpModel::Interval>>> task_intervals_;
  std::vector<std::vector<std::optional<CpModel::Interval>>> delivery_intervals_;
  std::vector<ResidenceParts> residences_;
  std::vector<PersistentParts> persistent_;
  std::vector<CpModel::Interval> sized_;  ///< intervals whose size is a variable of their own
  std::int64_t constant_load_ = 0;        ///< bytes on the device at hand throughout the frame
  CpModel::Variable makespan_ = 0;
  bool memory_is_exact_ = true;
};

}  // namespace opweave::exact
