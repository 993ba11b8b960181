/// opweave plans how the operators of a neural network are placed and ordered on the devices of a cluster.
///
/// The headers in the order of the story: what is planned, where, how it repeats, the whole problem,
/// an answer, its judges, the planner.
#pragma once

// clang-format off
#include "opweave/quantity.h"
#include "opweave/id.h"
#include "opweave/error.h"
#include "opweave/training.h"
#include "opweave/memory_mode.h"
#include "opweave/graph.h"
#include "opweave/cluster.h"
#include "opweave/cost.h"
#include "opweave/blocks.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "opweave/objective.h"
#include "opweave/plan.h"
#include "opweave/check.h"
#include "opweave/channel_model.h"
#include "opweave/simulate.h"
#include "opweave/bounds.h"
#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/memory_modes.h"
#include "opweave/pareto.h"
#include "opweave/partition.h"
#include "opweave/pipeline.h"
#include "opweave/cut.h"
#include "opweave/experts.h"
#include "opweave/io.h"
#include "opweave/pytorch_csv.h"
#include "opweave/topology.h"
#include "opweave/plan_alone.h"
#include "opweave/msr.h"
#include "opweave/layer_graph.h"
#include "opweave/operator_profiles.h"
#include "opweave/report.h"
#include "opweave/explain.h"
#include "opweave/what_if.h"
// clang-format on
