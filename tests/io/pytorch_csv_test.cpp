#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/pytorch_csv.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

std::vector<std::vector<std::string>> cells(const std::string& csv) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) {
    rows.emplace_back();
    std::istringstream row(line);
    for (std::string cell; std::getline(row, cell, ',');) rows.back().push_back(cell);
  }
  return rows;
}

std::string csv_error(const std::string& csv) {
  try {
    (void)parse_pytorch_csv(csv, "orders.csv");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

std::string writing_error_of(const PipelineSchedule& schedule, CsvDialect dialect = CsvDialect::kComputeComms) {
  try {
    (void)to_pytorch_csv(schedule, dialect);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

PipelineSchedule schedule_of(const std::vector<std::vector<std::string>>& rows, std::uint32_t stages,
                             std::uint32_t microbatches) {
  PipelineSchedule schedule;
  schedule.name = "hand";
  schedule.stages = stages;
  schedule.microbatches = microbatches;
  for (const auto& row : rows) {
    schedule.devices.emplace_back();
    for (const std::string& text : row) schedule.devices.back().push_back(action_from_string(text).value());
  }
  return schedule;
}

std::vector<PipelineSchedule> schedules_for_pytorch() {
  std::vector<PipelineSchedule> result;
  const StageCosts costs{Duration(10), Duration(12), Duration(8), Duration(1)};
  for (const Expert expert : kAllExperts) {
    if (expert == Expert::kDualPipe) continue;
    for (const auto& [devices, microbatches] : {std::pair{4U, 8U}, {2U, 5U}, {3U, 6U}, {1U, 2U}}) {
      if (auto schedule = generate(expert, devices, microbatches, costs)) result.push_back(std::move(*schedule));
    }
  }
  return result;
}

// Two ranks, one stage each, one microbatch.
constexpr const char* kTiny = "0F0,,,0B0\n,1F0,1B0,\n";
constexpr const char* kTinyWithMessages =
    "0F0,0SEND_F0,0RECV_B0,0B0,0REDUCE_GRAD\n1RECV_F0,1F0,1B0,1SEND_B0,1REDUCE_GRAD\n";

TEST(PytorchCsv, compute_only_is_read) {
  const PipelineSchedule schedule = parse_pytorch_csv(kTiny, "tiny.csv");
  EXPECT_EQ(schedule.name, "tiny.csv");
  EXPECT_EQ(schedule.shape, PipelineShape::kLinear);
  EXPECT_EQ(schedule.stages, 2U);
  EXPECT_EQ(schedule.microbatches, 1U);
  EXPECT_EQ(schedule.devices, schedule_of({{"0F0", "0B0"}, {"1F0", "1B0"}}, 2, 1).devices);
}

TEST(PytorchCsv, communication_is_checked_and_dropped) {
  EXPECT_EQ(parse_pytorch_csv(kTinyWithMessages, "tiny.csv").devices, parse_pytorch_csv(kTiny, "tiny.csv").devices);
}

TEST(PytorchCsv, spaces_and_carriage_returns_around_cells_are_no_part_of_them) {
  EXPECT_EQ(parse_pytorch_csv(" 0F0 ,0B0\r\n1F0,\t1B0\r\n", "a").devices, parse_pytorch_csv(kTiny, "b").devices);
}

TEST(PytorchCsv, shape_follows_from_the_rows) {
  EXPECT_EQ(parse_pytorch_csv("0F0,3F0,3B0,0B0\n1F0,2F0,2B0,1B0\n", "v").shape, PipelineShape::kV);
  EXPECT_EQ(parse_pytorch_csv("0F0,2F0,2B0,0B0\n1F0,3F0,3B0,1B0\n", "loop").shape, PipelineShape::kLoop);
  EXPECT_EQ(parse_pytorch_csv("1F0,1B0\n0F0,0B0\n", "permuted").shape, PipelineShape::kFree);
  EXPECT_EQ(parse_pytorch_csv("0F0,1F0,1B0,0B0\n2F0,2B0\n", "uneven").shape, PipelineShape::kFree);
}

TEST(PytorchCsv, every_expert_with_one_copy_is_read_back_from_both_dialects) {
  for (const PipelineSchedule& schedule : schedules_for_pytorch()) {
    for (const CsvDialect dialect : {CsvDialect::kComputeOnly, CsvDialect::kComputeComms}) {
      const PipelineSchedule copy = parse_pytorch_csv(to_pytorch_csv(schedule, dialect), schedule.name);
      EXPECT_EQ(copy.devices, schedule.devices) << schedule.name;
      EXPECT_EQ(copy.stages, schedule.stages);
      EXPECT_EQ(copy.microbatches, schedule.microbatches);
      if (schedule.devices.size() > 1) {
        EXPECT_EQ(copy.shape, schedule.shape) << schedule.name;
      }
    }
  }
}

TEST(PytorchCsv, compute_only_has_consumers_in_later_columns) {
  for (const PipelineSchedule& schedule : schedules_for_pytorch()) {
    std::map<std::string, std::size_t> column_of;  // "2F0", "2I0"; B and pairs taken apart
    std::vector<std::pair<std::size_t, PipelineAction>> placed;
    for (const auto& row : cells(to_pytorch_csv(schedule, CsvDialect::kComputeOnly))) {
      for (std::size_t column = 0; column < row.size(); ++column) {
        if (row[column].empty()) continue;
        const PipelineAction action = action_from_string(row[column]).value();
        const auto note = [&](ActionKind kind, std::uint32_t stage, std::uint32_t microbatch) {
          const PipelineAction simple{kind, stage, microbatch, 0, 0};
          column_of[to_string(simple)] = column;
          placed.emplace_back(column, simple);
        };
        if (action.kind == ActionKind::kPair) {
          note(ActionKind::kForward, action.stage, action.microbatch);
          note(ActionKind::kInputGradient, action.backward_stage, action.backward_microbatch);
        } else if (action.kind == ActionKind::kBackward) {
          note(ActionKind::kInputGradient, action.stage, action.microbatch);
        } else {
          note(action.kind, action.stage, action.microbatch);
        }
      }
    }
    for (const auto& [column, action] : placed) {
      const std::string microbatch = std::to_string(action.microbatch);
      std::string source;
      if (action.kind == ActionKind::kForward && action.stage > 0) {
        source = std::to_string(action.stage - 1) + "F" + microbatch;
      } else if (action.kind == ActionKind::kInputGradient) {
        source = action.stage + 1 < schedule.stages ? std::to_string(action.stage + 1) + "I" + microbatch
                                                    : std::to_string(action.stage) + "F" + microbatch;
      } else if (action.kind == ActionKind::kWeightGradient) {
        source = std::to_string(action.stage) + "I" + microbatch;
      }
      if (source.empty()) continue;
      ASSERT_LT(column_of.at(source), column) << schedule.name << " " << to_string(action);
    }
  }
}

TEST(PytorchCsv, messages_of_each_pair_of_ranks_are_received_in_the_order_sent) {
  // Independent of the reader: what rank r sends to q, in order, against what q receives from r.
  bool had_early_receive = false;
  for (const PipelineSchedule& schedule : schedules_for_pytorch()) {
    const auto rows = cells(to_pytorch_csv(schedule, CsvDialect::kComputeComms));
    const auto parse = [](const std::string& cell, const char* keyword) -> std::optional<std::pair<int, int>> {
      const std::size_t at = cell.find(keyword);
      if (at == std::string::npos) return std::nullopt;
      return std::pair{std::stoi(cell.substr(0, at)), std::stoi(cell.substr(at + std::string(keyword).size()))};
    };
    std::map<int, std::size_t> rank_of;
    for (std::size_t rank = 0; rank < rows.size(); ++rank) {
      for (const std::string& cell : rows[rank]) {
        if (const auto reduced = cell.find("REDUCE_GRAD"); reduced != std::string::npos) {
          rank_of[std::stoi(cell)] = rank;
        }
      }
    }
    ASSERT_EQ(rank_of.size(), schedule.stages) << "every stage reduces its gradients once";
    using Item = std::tuple<char, int, int>;  // direction, receiving stage, microbatch
    std::map<std::pair<std::size_t, std::size_t>, std::vector<Item>> sent;
    std::map<std::pair<std::size_t, std::size_t>, std::vector<Item>> received;
    for (std::size_t rank = 0; rank < rows.size(); ++rank) {
      for (std::size_t index = 0; index < rows[rank].size(); ++index) {
        const std::string& cell = rows[rank][index];
        if (const auto message = parse(cell, "SEND_F")) {
          sent[{rank, rank_of.at(message->first + 1)}].emplace_back('F', message->first + 1, message->second);
        } else if (const auto gradient = parse(cell, "SEND_B")) {
          sent[{rank, rank_of.at(gradient->first - 1)}].emplace_back('B', gradient->first - 1, gradient->second);
        } else if (const auto input = parse(cell, "RECV_F")) {
          received[{rank_of.at(input->first - 1), rank}].emplace_back('F', input->first, input->second);
          const std::string consumer = std::to_string(input->first) + "F" + std::to_string(input->second);
          had_early_receive = had_early_receive || rows[rank].at(index + 1).find(consumer) == std::string::npos;
        } else if (const auto output = parse(cell, "RECV_B")) {
          received[{rank_of.at(output->first + 1), rank}].emplace_back('B', output->first, output->second);
        }
      }
    }
    EXPECT_EQ(sent, received) << schedule.name;
  }
  EXPECT_TRUE(had_early_receive) << "no schedule here needed a receive before its consumer's place";
}

TEST(PytorchCsv, small_schedule_is_written_with_messages_next_to_their_ends) {
  EXPECT_EQ(to_pytorch_csv(parse_pytorch_csv(kTiny, "tiny"), CsvDialect::kComputeComms), kTinyWithMessages);
  EXPECT_EQ(to_pytorch_csv(parse_pytorch_csv(kTiny, "tiny"), CsvDialect::kComputeOnly), "0F0,,,0B0\n,1F0,1B0\n");
}

TEST(PytorchCsv, receive_moves_before_that_of_a_later_message_which_is_needed_first) {
  // Rank 0 makes 0F0, then 0F1; rank 1 wants microbatch 1 first.
  const PipelineSchedule schedule = schedule_of({{"0F0", "0F1", "0B1", "0B0"}, {"1F1", "1F0", "1B1", "1B0"}}, 2, 2);
  EXPECT_THAT(to_pytorch_csv(schedule, CsvDialect::kComputeComms), HasSubstr("\n1RECV_F0,1RECV_F1,1F1,1F0,"));
}

TEST(PytorchCsv, split_backward_reduces_after_the_last_weight_gradient) {
  const PipelineSchedule schedule = schedule_of({{"0F0", "0F1", "0I0", "0I1", "0W1", "0W0"}}, 1, 2);
  EXPECT_EQ(to_pytorch_csv(schedule, CsvDialect::kComputeComms), "0F0,0F1,0I0,0I1,0W1,0W0,0REDUCE_GRAD\n");
}

TEST(PytorchCsv, pair_receives_both_inputs_before_and_sends_both_outputs_after) {
  const auto dual = generate(Expert::kDualPipeV, 2, 4, {Duration(1), Duration(1), Duration(1), Duration(0)});
  const std::string csv = to_pytorch_csv(dual.value(), CsvDialect::kComputeComms);
  EXPECT_THAT(csv, HasSubstr(",3RECV_F2,0RECV_B0,(3F2;0B0)OVERLAP_F_B,"));
  EXPECT_THAT(csv, HasSubstr(",(0F3;3B1)OVERLAP_F_B,0SEND_F3,3SEND_B1,"));
}

TEST(PytorchCsv, two_way_schedule_cannot_be_written) {
  const auto dual = generate(Expert::kDualPipe, 2, 4, {Duration(1), Duration(1), Duration(1), Duration(0)});
  EXPECT_THAT(writing_error_of(dual.value()), HasSubstr("PyTorch runs a stage on one rank"));
}

TEST(PytorchCsv, incomplete_or_circular_schedules_are_not_written) {
  EXPECT_THAT(writing_error_of(schedule_of({{"0F0", "0B0"}, {}}, 1, 1)), HasSubstr("row 1 has no action"));
  EXPECT_THAT(writing_error_of(schedule_of({{"0F0"}}, 1, 1)), HasSubstr("0I0 is missing: PyTorch loads"));
  // 0B0 before 0F1 needs 1B0, which comes after 1F1.
  const PipelineSchedule circular = schedule_of({{"0F0", "0B0", "0F1", "0B1"}, {"1F0", "1F1", "1B0", "1B1"}}, 2, 2);
  for (const CsvDialect dialect : {CsvDialect::kComputeOnly, CsvDialect::kComputeComms}) {
    EXPECT_THAT(writing_error_of(circular, dialect), HasSubstr("row 0, action 1 \"0B0\": waits forever"));
  }
}

TEST(PytorchCsv, defects_are_named_with_line_column_and_token) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "line 1, column 1: \"\": no rows"},
      {"\n", "line 1, column 1: \"\": no rows"},
      {"\n0F0,0B0\n", "line 1, column 1: \"\": row 0 has no action"},
      {"0F0,,0B0junk\n", "line 1, column 3: \"0B0junk\": no action, expected one like"},
      {"0F0;0B0\n", "line 1, column 1: \"0F0;0B0\": no action"},
      {"0F0,0SEND_F\n", "line 1, column 2: \"0SEND_F\": no action"},
      {"0F0,0UNSHARD0\n", "line 1, column 2: \"0UNSHARD0\": no action"},
      {"0F99999999999,0B0\n", "line 1, column 1: \"0F99999999999\": no action"},
      {"0F4294967295,0B4294967295\n", "line 1, column 1: \"0F4294967295\": 0F0 is missing"},
      {"0F0,0B0,0F0\n", "line 1, column 3: \"0F0\": 0F0 is done a second time"},
      {"0F0,0F1,0B0,0W0,0B1\n", "line 1, column 4: \"0W0\": 0W0 is done a second time"},
      {"0F0,0I0,0BW0\n", "line 1, column 3: \"0BW0\": no action"},
      {"0B0,0F0\n", "line 1, column 1: \"0B0\": 0I0 comes before 0F0"},
      {"0F0,0W0,0I0\n", "line 1, column 2: \"0W0\": 0W0 comes before 0I0"},
      {"0F0,0I0\n", "0W0 is missing"},
      {"0F0,0B0,0F1,1F0,1B0\n", "0I1 is missing"},
      {"0F0,0B0\n0F1,0B1\n", "line 2, column 1: \"0F1\": stage 0 is on rows 0 and 1"},
      {"0F0,0B0\n2F0,2B0\n", "stage 1 is on no row, but stage 2 is on row 1"},
      {"0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1\n", "line 1, column 2: \"0B0\": waits forever"},
      {"(0F0;0B0)OVERLAP_F_B\n", "waits forever"},
      // With communication.
      {"0F0,,0B0,0REDUCE_GRAD\n", "line 1, column 2: \"\": empty cell"},
      {"0F0,0SEND_F0,0RECV_B0,0B0\n1F0,1B0,1SEND_B0\n", "line 2, column 1: \"1F0\": no 1RECV_F0 before it"},
      {"0F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n", "line 2, column 1: \"1RECV_F0\": no 0SEND_F0 on row 0"},
      {"0F0,0SEND_F0,0SEND_F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n", "is done a second time"},
      {"0SEND_F0,0F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n", "line 1, column 1: \"0SEND_F0\": comes before 0F0"},
      {"0F0,0SEND_F0,0RECV_B0,0B0,0SEND_B0\n1RECV_F0,1F0,1B0,1SEND_B0\n", "\"0SEND_B0\": there is no such message"},
      {"0F0,0SEND_F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0,1RECV_B0\n", "\"1RECV_B0\": there is no such message"},
      {"0F0,0SEND_F0,0SEND_F1,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n", "\"0SEND_F1\": there is no such message"},
      {"0F0,0SEND_F0,0RECV_B0,0B0\n0RECV_F0,1RECV_F0,1F0,1B0,1SEND_B0\n", "stage 0 is not on row 1"},
      {"0F0,0SEND_F0,0RECV_B0,0B0,7REDUCE_GRAD\n1RECV_F0,1F0,1B0,1SEND_B0\n", "stage 7 is not on row 0"},
      {"0F0,0REDUCE_GRAD,0B0\n", "line 1, column 3: \"0B0\": comes after the reduction of gradients of stage 0"},
      {"0F0,0B0,0REDUCE_GRAD,0REDUCE_GRAD\n", "gradients of stage 0 are reduced a second time"},
      {"0F0,0UNSHARD,0B0\n", "line 1, column 1: \"0F0\": parameters of stage 0 are not gathered"},
      {"0UNSHARD,0F0,0UNSHARD,0B0\n", "line 1, column 3: \"0UNSHARD\": parameters of stage 0 are gathered already"},
      {"0RESHARD,0F0,0B0\n", "line 1, column 1: \"0RESHARD\": parameters of stage 0 are not gathered"},
  };
  for (const auto& [csv, expected] : cases) {
    EXPECT_THAT(csv_error(csv), HasSubstr("orders.csv: line ")) << csv;
    EXPECT_THAT(csv_error(csv), HasSubstr(expected)) << csv;
  }
}

TEST(PytorchCsv, gathered_parameters_are_accepted) {
  EXPECT_EQ(csv_error("0UNSHARD,0F0,0B0,0RESHARD,0REDUCE_GRAD\n"), "no error");
}

TEST(PytorchCsv, crossed_receives_are_an_error_though_every_message_has_both_ends) {
  // PyTorch would hand microbatch 0's activation to microbatch 1 without a word.
  EXPECT_THAT(csv_error("0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n"
                        "1RECV_F1,1RECV_F0,1F0,1F1,1B0,1SEND_B0,1B1,1SEND_B1\n"),
              HasSubstr("line 2, column 1: \"1RECV_F1\": received out of order, row 0 sends 0SEND_F0 first"));
}

TEST(PytorchCsv, early_receives_are_legal_where_they_hold_up_nothing) {
  constexpr const char* kEarly = "0RECV_B0,0F0,0SEND_F0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n";
  EXPECT_THAT(csv_error(kEarly), HasSubstr("\"0RECV_B0\": messages wait in a circle"));
  EXPECT_NO_THROW((void)parse_pytorch_csv(kEarly, "early", ChannelModel{}));
}

TEST(PytorchCsv, forwards_alone_are_a_schedule_to_read) {
  const PipelineSchedule schedule = parse_pytorch_csv("0F0,0F1\n,1F0,1F1\n", "inference");
  EXPECT_EQ(schedule.devices, schedule_of({{"0F0", "0F1"}, {"1F0", "1F1"}}, 2, 2).devices);
  EXPECT_EQ(schedule.microbatches, 2U);
}

TEST(PytorchCsv, what_spreadsheets_add_is_no_part_of_a_schedule) {
  const auto tiny = parse_pytorch_csv(kTiny, "tiny").devices;
  for (const char* text : {"\xEF\xBB\xBF"
                           "0F0,0B0\r\n1F0,1B0\r\n",
                           "\"0F0\",\" 0B0 \"\n\"1F0\",\"1B0\"\n", "0F0,0B0\n1F0,1B0\n\n  \n",
                           "0F0,0B0,,,\n1F0,1B0,,,\n,,,,\n", "0F0,,0B0 ,\n 1F0,1B0"}) {
    EXPECT_EQ(parse_pytorch_csv(text, "text").devices, tiny) << text;
  }
  EXPECT_EQ(parse_pytorch_csv("0F0,0SEND_F0,0RECV_B0,0B0,\n1RECV_F0,1F0,1B0,1SEND_B0,,\n", "padded").devices, tiny);
}

TEST(PytorchCsv, letters_of_older_versions_are_translated_and_remarked) {
  // There B is the gradient of inputs, W that of weights, BW both.
  const auto both = read_pytorch_csv("0F0,0BW0\n1F0,1B0,1W0\n", "old.csv");
  EXPECT_EQ(both.schedule.devices, schedule_of({{"0F0", "0B0"}, {"1F0", "1I0", "1W0"}}, 2, 1).devices);
  EXPECT_THAT(both.remarks, ::testing::ElementsAre("older letters of PyTorch: B is read as I, BW as B"));
  // Without BW, a W for every B says the same.
  EXPECT_EQ(read_pytorch_csv("0F0,0B0,0W0\n", "old.csv").schedule.devices,
            schedule_of({{"0F0", "0I0", "0W0"}}, 1, 1).devices);
  EXPECT_THAT(read_pytorch_csv(kTiny, "new.csv").remarks, ::testing::IsEmpty());
}

TEST(PytorchCsv, send_that_comes_too_late_is_a_deadlock) {
  // Rank 1 waits for 0SEND_F0, which comes after 0B0, which waits for rank 1.
  EXPECT_THAT(csv_error("0F0,0RECV_B0,0B0,0SEND_F0\n1RECV_F0,1F0,1B0,1SEND_B0\n"),
              HasSubstr("line 1, column 3: \"0B0\": waits forever"));
}

TEST(PytorchCsv, no_single_character_change_is_accepted_as_another_schedule_of_the_same_size_unnoticed) {
  // Whatever the reader accepts, it writes back to the same actions.
  const auto base = generate(Expert::kZBV, 2, 3, {Duration(1), Duration(1), Duration(1), Duration(0)});
  const std::string csv = to_pytorch_csv(base.value(), CsvDialect::kComputeComms);
  std::size_t accepted = 0;
  for (std::size_t at = 0; at < csv.size(); ++at) {
    for (const char replacement : std::string("0123FIWB,;()_ \n-x")) {
      std::string changed = csv;
      changed[at] = replacement;
      try {
        const PipelineSchedule schedule = parse_pytorch_csv(changed, "changed");
        EXPECT_EQ(parse_pytorch_csv(to_pytorch_csv(schedule, CsvDialect::kComputeComms), "again").devices,
                  schedule.devices);
        ++accepted;
      } catch (const InputError&) {
      }
    }
  }
  EXPECT_GT(accepted, csv.size() / 2) << "replacing a character by itself is no change";
}

}  // namespace
}  // namespace opweave
