"""Do docs/schemas say what the readers do? Exit code 77 where jsonschema is not installed.

Golden files must validate. Malformed files that are JSON must not, unless their defect is one that no
schema can express; that list is exact too.
"""

import json
import pathlib
import sys

try:
    import jsonschema
except ImportError:
    print("python3 has no module jsonschema")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]

# References, names used twice, cycles, sums and comparisons of values; numbers that are integers only as doubles.
BEYOND_SCHEMAS = {
    "cluster": {
        "bandwidth_rounded",
        "device_and_switch_of_one_name",
        "device_twice",
        "link_to_itself",
        "link_to_unknown_device",
        "link_twice",
        "type_twice",
        "unknown_type",
    },
    "graph": {
        "cycle_of_fifty",
        "cycle_of_one",
        "cycle_of_three",
        "cycle_of_two",
        "cycle_through_tensor",
        "duration_below_any_double",
        "duration_of_one_and_next_to_nothing",
        "duration_rounded_fraction",
        "modes_on_same_devices",
        "operator_twice",
        "optimizer_before_forward",
        "parameter_twice",
        "tensor_twice",
        "tensor_with_two_producers",
        "training_replica_list_too_short",
        "training_replica_out_of_range",
        "training_replicas_above_microbatches",
        "unknown_after",
        "unknown_input",
        "unknown_input_of_1000_letters",
        "unknown_input_with_control_characters",
        "unknown_output",
        "unknown_parameter",
    },
    "pipeline": {
        "component_input_later",
        "component_input_of_itself",
        "component_input_twice",
        "component_input_unknown",
        "component_layer_twice",
        "component_twice",
        "layer_twice",
        "operator_twice",
        "overlapped_pair_by_type",
        "pair_longer_than_its_parts",
        "pair_of_two_operators",
        "pair_shorter_than_its_backward",
        "replicas_above_microbatches",
    },
    "plan": {
        "gap_contradicts_bound",
        "lower_bound_contradicts_bounds",
        "objective_in_another_unit",
        "settings_replicas_above_microbatches",
        "statistics_out_of_order",
        "statistics_with_a_device_too_many",
        "statistics_without_a_device",
        "streams_of_another",
        "streams_too_many",
        "unknown_destination",
        "unknown_device",
        "unknown_operator",
        "unknown_tensor",
    },
}


class NotJson(ValueError):
    """What a JSON Schema never sees."""


def members(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise NotJson("repeated key")
    return dict(pairs)


def refuse(constant):
    raise NotJson(constant)


def load(path):
    try:
        value = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=members, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails for half a surrogate pair
        return value
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def main():
    failures = []
    counts = {"golden": 0, "rejected": 0, "beyond schemas": 0, "not JSON": 0}
    for kind in BEYOND_SCHEMAS:
        schema = load(ROOT / "docs" / "schemas" / f"{kind}.schema.json")
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        for path in sorted((ROOT / "tests" / "golden" / "formats").glob(f"*.{kind}.json")):
            counts["golden"] += 1
            failures += [f"{path.name}: {error.message}" for error in validator.iter_errors(load(path))]
        malformed = sorted((ROOT / "tests" / "malformed" / kind).glob("*.json"))
        failures += [
            f"{kind}/{name}: no such file" for name in BEYOND_SCHEMAS[kind] - {path.stem for path in malformed}
        ]
        for path in malformed:
            try:
                is_valid = validator.is_valid(load(path))
            except NotJson:
                counts["not JSON"] += 1
                continue
            counts["beyond schemas" if is_valid else "rejected"] += 1
            if is_valid != (path.stem in BEYOND_SCHEMAS[kind]):
                failures.append(f"{kind}/{path.name}: {'validates' if is_valid else 'does not validate'}")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
