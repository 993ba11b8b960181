// The plan as typed arrays, read from the columns that the page carries (docs/report.md).

const source = JSON.parse(document.getElementById('plan').textContent);

// In the order of opweave::Phase.
const PHASES = [
  {letter: '', name: 'no phase', colour: '--phase-none'},
  {letter: 'F', name: 'forward', colour: '--phase-f'},
  {letter: 'I', name: 'input gradient', colour: '--phase-i'},
  {letter: 'W', name: 'weight gradient', colour: '--phase-w'},
  {letter: 'B', name: 'backward', colour: '--phase-b'},
  {letter: 'O', name: 'optimizer', colour: '--phase-o'},
];
const OPTIMIZER = 5;

/// Sums up a column of differences.
function running(differences) {
  const values = new Float64Array(differences.length);
  let value = 0;
  for (let i = 0; i < differences.length; i++) values[i] = value += differences[i];
  return values;
}

/// First index whose value is greater than `limit`, in an ascending array.
function upperBound(values, limit, count = values.length) {
  let low = 0, high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] > limit) high = middle; else low = middle + 1;
  }
  return low;
}

function readTasks(columns) {
  const start = running(columns.start);
  return {
    count: start.length,
    op: Int32Array.from(running(columns.op)),
    copy: Int32Array.from(columns.copy),
    devices: Int32Array.from(columns.devices),  // index into deviceSets
    binding: columns.binding,                   // index into explanation.bindings
    slack: columns.slack,
    start,
    end: start.map((time, i) => time + columns.duration[i]),
  };
}

function readTransfers(columns) {
  const start = running(columns.start);
  return {
    count: start.length,
    tensor: Int32Array.from(columns.tensor),
    copy: Int32Array.from(columns.copy),
    source: Int32Array.from(columns.source),
    destination: Int32Array.from(columns.destination),
    start,
    end: start.map((time, i) => time + columns.duration[i]),
  };
}

/// Idle stretches of a compute stream by time, and their sums by cause.
function readIdle({cause, start, length}) {
  const from = running(start);
  const byCause = source.explanation.causes.map(() => 0);
  cause.forEach((index, i) => { byCause[index] += length[i]; });
  return {cause, from, until: from.map((time, i) => time + length[i]), byCause};
}

const operators = source.operators;
const streams = source.streams;
const deviceSets = source.device_sets;
const tasks = readTasks(source.tasks);
const transfers = readTransfers(source.transfers);
const tensors = source.tensors;
const parameters = source.parameters;
const explanation = source.explanation;
const makespan = source.statistics.makespan;
const microbatches = source.settings.microbatches;
const stageCount = operators.stage.reduce((most, stage) => Math.max(most, stage + 1), 0);

/// The streams that an operator holds, as indices.
const streamsOfMask = new Map();
function heldStreams(op) {
  const mask = operators.streams[op];
  if (!streamsOfMask.has(mask)) {
    streamsOfMask.set(mask, streams.map((_, stream) => stream).filter(stream => (mask >>> stream) & 1));
  }
  return streamsOfMask.get(mask);
}

const SEPARATORS = /[./:_\- ]/g;  // between the parts of a name
let leftOutOfLabels = '';

/// Takes from the labels of all devices what they begin with, up to a separator; the legend says it once.
function leaveOutCommonPart() {
  const names = devices.map(device => device.name);
  if (names.length < 2) return;
  let common = names[0].length;
  for (const name of names) {
    let length = 0;
    while (length < Math.min(common, name.length - 1) && name[length] === names[0][length]) length++;
    common = length;
  }
  const ends = [...names[0].slice(0, common).matchAll(SEPARATORS)].map(match => match.index + 1);
  leftOutOfLabels = names[0].slice(0, ends.at(-1) ?? 0);
  for (const device of devices) device.label = device.name.slice(leftOutOfLabels.length);
}

/// Tasks of each stream of each device by start. `reach[i]` is the latest end among the tasks 0..i of
/// the lane: it ascends, so the first task that is visible from a time on is found by bisection.
function buildDevices() {
  const devices = source.devices.map((device, index) => ({
    index, name: device.name, label: device.name, type: device.type, capacity: device.capacity, statistics: device.statistics,
    memory: {time: running(device.memory.time), bytes: running(device.memory.bytes)},
    idle: readIdle(device.idle),
    parameters: Int32Array.from(running(device.parameters)),  // index into parameters
    lanes: device.streams.map(stream => ({device: index, stream, tasks: []})),
  }));
  for (const device of devices) {
    device.laneOf = new Map(device.lanes.map(lane => [lane.stream, lane]));
    device.peak = device.memory.bytes.reduce((most, bytes) => Math.max(most, bytes), 0);
  }
  for (let task = 0; task < tasks.count; task++) {
    for (const device of deviceSets[tasks.devices[task]]) {
      for (const stream of heldStreams(tasks.op[task])) devices[device].laneOf.get(stream).tasks.push(task);
    }
  }
  for (const device of devices) {
    // A stream on which nothing runs is no lane; where devices compute is one even then.
    device.lanes = device.lanes.filter(lane => lane.stream === 0 || lane.tasks.length > 0);
    for (const lane of device.lanes) {
      let latest = 0;
      lane.reach = Float64Array.from(lane.tasks, task => latest = Math.max(latest, tasks.end[task]));
      lane.tasks = Int32Array.from(lane.tasks);
    }
  }
  return devices;
}
const devices = buildDevices();

/// Steps without holes from the start to the makespan; task and transfer are indices, or -1.
const criticalPath = readPath(explanation.path);
function readPath({task, transfer, length}) {
  let until = 0;
  return length.map((duration, i) => ({from: until, until: until += duration, task: task[i], transfer: transfer[i]}));
}

function taskName(task) {
  const name = operators.name[tasks.op[task]];
  return microbatches > 1 || source.settings.replicas > 1 ? `${name}#${tasks.copy[task]}` : name;
}

/// What a task is, as pairs of label and text.
function describeTask(task) {
  const op = tasks.op[task];
  const phase = PHASES[operators.phase[op]];
  const rows = [];
  if (phase.letter) rows.push(['phase', `${phase.letter}, ${phase.name}`]);
  rows.push([operators.phase[op] === OPTIMIZER ? 'replica' : 'microbatch', String(tasks.copy[task])]);
  if (operators.kind[op] >= 0) rows.push(['kind', source.words[operators.kind[op]]]);
  if (operators.layer[op] >= 0) rows.push(['layer', source.words[operators.layer[op]]]);
  if (operators.stage[op] >= 0) rows.push(['stage', String(operators.stage[op])]);
  const names = deviceSets[tasks.devices[task]].map(device => devices[device].name);
  rows.push([names.length > 1 ? 'devices' : 'device', names.join(', ')]);
  const held = heldStreams(op).map(stream => streams[stream]);
  rows.push([held.length > 1 ? 'streams' : 'stream', held.join(', ')]);
  rows.push(['start', exactTime(tasks.start[task], makespan)]);
  rows.push(['end', exactTime(tasks.end[task], makespan)]);
  rows.push(['duration', exactTime(tasks.end[task] - tasks.start[task])]);
  rows.push(['starts after', explanation.bindings[tasks.binding[task]]]);
  rows.push(['slack', exactTime(tasks.slack[task])]);
  return rows;
}

function describeTransfer(transfer) {
  const tensor = transfers.tensor[transfer];
  return `${tensors.name[tensor]}#${transfers.copy[transfer]}, ${formatBytes(tensors.bytes[tensor])}, ` +
    `${devices[transfers.source[transfer]].name} → ${devices[transfers.destination[transfer]].name}, ` +
    `${exactTime(transfers.start[transfer], makespan)} – ${exactTime(transfers.end[transfer], makespan)}`;
}

/// Transfers that bring inputs to a task or carry its outputs away. A tensor of one microbatch that an
/// optimizer operator consumes has another copy number than its consumer.
function transfersOf(task) {
  const op = tasks.op[task], copy = tasks.copy[task];
  const here = deviceSets[tasks.devices[task]];
  const anyCopy = operators.phase[op] === OPTIMIZER;
  const incoming = [], outgoing = [];
  for (let i = 0; i < transfers.count; i++) {
    const tensor = transfers.tensor[i];
    if (tensors.producer[tensor] === op && transfers.copy[i] === copy) outgoing.push(i);
    if (tensors.consumers[tensor].includes(op) && (anyCopy || transfers.copy[i] === copy) &&
        here.includes(transfers.destination[i])) {
      incoming.push(i);
    }
  }
  return {incoming, outgoing};
}

/// Share of the devices whose compute stream is busy, per phase, in equal slices of time.
function buildOverview(slices) {
  const busy = PHASES.map(() => new Float64Array(slices));
  const width = makespan / slices;
  if (width === 0) return busy;
  for (const device of devices) {
    for (const task of device.laneOf.get(0).tasks) {
      const row = busy[operators.phase[tasks.op[task]]];
      const start = tasks.start[task], end = tasks.end[task];
      for (let slice = Math.floor(start / width); slice < slices && slice * width < end; slice++) {
        const share = Math.min(end, (slice + 1) * width) - Math.max(start, slice * width);
        if (share > 0) row[slice] += share / width / devices.length;
      }
    }
  }
  return busy;
}
