// What is visible: the range of time, the rows of the devices, and where things lie on the screen.

const AXIS_HEIGHT = 64;      // overview, gap, ticks; as in style.css
const OVERVIEW_HEIGHT = 36;
const FEWEST_NANOSECONDS = 4;  // deepest zoom
const DENSITIES = [
  {compute: 12, stream: 8, memory: 14, gap: 5},
  {compute: 16, stream: 11, memory: 18, gap: 6},
  {compute: 20, stream: 14, memory: 22, gap: 7},
  {compute: 24, stream: 18, memory: 28, gap: 10},
  {compute: 36, stream: 26, memory: 48, gap: 16},
  {compute: 52, stream: 40, memory: 80, gap: 22},
];

const LOWEST_LABELLED = 1;
const LOWEST_LABEL = 11;  // pixels of a row that takes text

const lanesBox = document.getElementById('lanes');

const view = {
  from: 0,
  to: makespan || 1,
  width: 0,        // of the plot, right of the names
  gutter: 0,       // width of the names
  height: 0,       // of the visible part of the lanes
  density: 2,
  colourBy: usefulGroupings[0] ?? 'phase',
  showTransfers: false,
  showPath: false,
  showIdle: false,
  showMemory: true,
  laneRows: new Map(),  // by laneKey
  rows: [],        // {kind: 'lane' | 'memory', device, lane, y, height}
  blocks: [],      // one per device: {device, y, height}
  rowsHeight: 0,
  selected: -1,    // task
  selectedTransfers: [],
  matching: null,  // Uint8Array by task while a search is on
};

const timeToX = time => view.gutter + (time - view.from) / (view.to - view.from) * view.width;
const xToTime = x => view.from + (x - view.gutter) / view.width * (view.to - view.from);

/// A device that only passes a value on may lack the producer's stream: its compute lane stands in.
const laneKey = (device, stream) => device * 32 + (devices[device].laneOf.has(stream) ? stream : 0);

function layOutRows() {
  const sizes = DENSITIES[view.density];
  view.rows = [];
  view.blocks = [];
  let y = 0;
  for (const device of devices) {
    const top = y;
    for (const lane of device.lanes) {
      const height = lane.stream === 0 ? sizes.compute : sizes.stream;
      view.rows.push({kind: 'lane', device, lane, y, height});
      view.laneRows.set(laneKey(device.index, lane.stream), view.rows[view.rows.length - 1]);
      y += height + 1;
    }
    if (view.showMemory) {
      view.rows.push({kind: 'memory', device, y: y + 1, height: sizes.memory});
      y += sizes.memory + 2;
    }
    y += sizes.gap;
    view.blocks.push({device, y: top, height: y - top});
  }
  view.rowsHeight = y;
}

/// The highest rows with which all devices fit on the screen, else the lowest that still take labels.
function chooseDensity(available) {
  for (view.density = DENSITIES.length - 1; view.density > LOWEST_LABELLED; view.density--) {
    layOutRows();
    if (view.rowsHeight <= available) return;
  }
}

function setRange(from, to) {
  const span = Math.min(Math.max(to - from, FEWEST_NANOSECONDS), makespan || 1);
  // Keep the middle where the span had to change, and the plan on the screen.
  const middle = (from + to) / 2;
  view.from = Math.min(Math.max(middle - span / 2, 0), Math.max(0, (makespan || 1) - span));
  view.to = view.from + span;
  redraw();
}

function zoom(factor, around = (view.from + view.to) / 2) {
  const span = Math.min(Math.max((view.to - view.from) * factor, FEWEST_NANOSECONDS), makespan || 1);
  const share = (around - view.from) / (view.to - view.from);
  setRange(around - share * span, around + (1 - share) * span);
}

const pan = time => setRange(view.from + time, view.to + time);
const fit = () => setRange(0, makespan || 1);
const isFitted = () => view.to - view.from >= makespan;

/// Scrolls and zooms so that a task can be seen. `close`: it fills a good part of the width.
function reveal(task, close) {
  const start = tasks.start[task], end = tasks.end[task];
  if (close) {
    const span = Math.max((end - start) * 6, FEWEST_NANOSECONDS);
    setRange((start + end) / 2 - span / 2, (start + end) / 2 + span / 2);
  } else if (end < view.from || start > view.to) {
    const span = view.to - view.from;
    setRange((start + end) / 2 - span / 2, (start + end) / 2 + span / 2);
  }
  const block = view.blocks[deviceSets[tasks.devices[task]][0]];
  if (block.y < lanesBox.scrollTop || block.y + block.height > lanesBox.scrollTop + view.height) {
    lanesBox.scrollTop = block.y - view.height / 3;
  }
  redraw();
}

function rowAt(y) {
  return view.rows.find(row => y >= row.y - 1 && y < row.y + row.height + 1);
}

/// The task at a time in a lane; one that is narrower than a finger counts within two pixels.
function taskAt(lane, time) {
  const slack = 2 * (view.to - view.from) / view.width;
  let best = -1, distance = Infinity;
  for (let i = upperBound(lane.reach, time - slack - 1); i < lane.tasks.length; i++) {
    const task = lane.tasks[i];
    if (tasks.start[task] > time + slack) break;
    const off = Math.max(tasks.start[task] - time, time - tasks.end[task], 0);
    if (off < distance) [best, distance] = [task, off];
    if (off === 0) break;
  }
  return distance <= slack ? best : -1;
}
