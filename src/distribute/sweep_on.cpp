#include "distribute/sweep_on.h"

#include "distribute/crew.h"
#include "distribute/question.h"
#include "distribute/strategy_parts.h"
#include "opweave/error.h"
#include "planner/sweep_file.h"

namespace opweave::distribute {
namespace {

Json question_of(const SweepQuestion& question) {
  // A member that is added does not compile here until it travels too.
  const auto& [model, machines, global_batches, sequences, precision, target, seconds_per_point, profiles] = question;
  Json list = Json::array();
  for (const Machines& one : machines) list.push_back(to_json(one));
  Json fitted = Json::array();
  for (const FittedProfile& one : profiles) fitted.push_back(to_json(one));
  return {{"kind", "sweep"},
          {"model", to_json(model)},
          {"machines", std::move(list)},
          {"global_batches", global_batches},
          {"sequences", sequences},
          {"precision", to_string(precision)},
          {"target", to_string(target)},
          {"seconds_per_point", seconds_per_point},
          {"profiles", std::move(fitted)}};
}

class SweepOfPoints final : public Question {
 public:
  explicit SweepOfPoints(const Json& value) {
    question_.model = model_from(value.at("model"));
    for (const Json& machines : value.at("machines")) question_.machines.push_back(machines_from(machines));
    question_.global_batches = value.at("global_batches").get<std::vector<std::int64_t>>();
    question_.sequences = value.at("sequences").get<std::vector<std::int64_t>>();
    question_.precision = precision_from_string(value.at("precision").get<std::string>()).value();
    question_.target = target_from_string(value.at("target").get<std::string>()).value();
    question_.seconds_per_point = value.at("seconds_per_point").get<double>();
    for (const Json& profile : value.at("profiles")) question_.profiles.push_back(profile_from(profile));
  }

  [[nodiscard]] std::string hash() const override { return question_.hash(); }

  [[nodiscard]] Json answer(const Json& task, const std::function<void(const Json&)>& /*found*/,
                            const std::atomic<bool>& stop) override {
    const auto row = answer_point(question_, task.get<std::size_t>(), &stop);
    if (!row) throw InputError("stopped");
    return Json::parse(sweep_line(*row));
  }

 private:
  SweepQuestion question_;
};

}  // namespace

std::unique_ptr<Question> read_sweep_question(const Json& question) {
  return std::make_unique<SweepOfPoints>(question);
}

SweepJournal run_sweep_on(const Place& place, const SweepQuestion& question, const std::filesystem::path& path,
                          std::size_t shard, std::size_t shards, std::size_t workers, const std::atomic<bool>* stop,
                          const std::function<void(const SweepRow&)>& on_row) {
  SweepFile file(question, path);
  const std::vector<std::size_t> open = file.open_points(shard, shards);
  if (open.empty()) return file.journal();
  Crew crew(place, workers, question_of(question), question.hash());
  for (const std::size_t point : open) crew.submit(point, point);
  while (crew.open() > 0 && (stop == nullptr || !stop->load())) {
    for (const Crew::Event& event : crew.next(kSecondsToListen)) {
      SweepRow row = question.asked(event.task);
      if (event.kind == Crew::Kind::kFailure) {
        row.failure = event.content.get<std::string>();
      } else {
        row = parse_sweep_line(event.content.dump(), "the answer of a worker");
      }
      if (row.point != event.task) throw InputError("a worker answered another point than it was asked");
      file.append(row);
      if (on_row) on_row(row);
    }
  }
  return file.journal();
}

}  // namespace opweave::distribute
