// Why the plan takes as long as it does (docs/explain.md), and the other schedules beside it.

const IDLE_TEXTS = {
  'ramp-up': 'before the first operator', 'ramp-down': 'after the last operator', 'unused': 'the device runs nothing',
  'input': 'waits for an operator on another device', 'transfer': 'waits for data on its way',
  'stream': 'waits for another stream of the device', 'memory': 'waits for memory', 'held': 'held back by the plan'};

const usedCauses = explanation.causes.map((_, cause) => cause)
  .filter(cause => devices.some(device => device.idle.byCause[cause] > 0));

function swatch(cause) {
  const box = element('i', {class: 'swatch'});
  box.style.background = `var(--idle-${explanation.causes[cause]})`;
  return box;
}

function idleLegend() {
  return usedCauses.map(cause => element('span', {title: IDLE_TEXTS[explanation.causes[cause]]}, swatch(cause), explanation.causes[cause]));
}

function idleStack(byCause, whole) {
  const stack = element('span', {class: 'stack', 'aria-hidden': 'true'});
  for (const cause of usedCauses) {
    const part = element('i', {title: `${explanation.causes[cause]} ${formatTime(byCause[cause])}`});
    part.style.width = `${100 * byCause[cause] / whole}%`;
    part.style.background = `var(--idle-${explanation.causes[cause]})`;
    stack.append(part);
  }
  return stack;
}

function showIdle() {
  const sum = list => list.reduce((total, value) => total + value, 0);
  const total = explanation.causes.map((_, cause) => sum(devices.map(device => device.idle.byCause[cause])));
  const row = (name, byCause, whole, className = '') => ({className, cells: [
    name, idleStack(byCause, whole), formatTime(sum(byCause)), ...usedCauses.map(cause => formatTime(byCause[cause]))]});
  const longest = Math.max(1, ...devices.map(device => sum(device.idle.byCause)));
  const rows = devices.map(device => row(device.name, device.idle.byCause, longest));
  if (devices.length > 1) rows.push(row('all', total, Math.max(1, sum(total)), 'best'));
  byId('idle').append(
    table(['Device', '', 'Bubble', ...usedCauses.map(cause => explanation.causes[cause])], rows),
    element('p', {class: 'caption'}, ...usedCauses.flatMap(cause =>
      [swatch(cause), `${explanation.causes[cause]}: ${IDLE_TEXTS[explanation.causes[cause]]}. `])));
}

/// What a step of the critical path is spent on.
function stepKind({task, transfer}) {
  if (transfer >= 0) return 'transfers';
  if (task < 0) return 'held back, or waiting for memory';
  const op = tasks.op[task];
  const kind = operators.kind[op] >= 0 ? source.words[operators.kind[op]] : 'operators';
  return `${kind} ${PHASES[operators.phase[op]].letter}`.trim();
}

function showPath() {
  if (criticalPath.length === 0) return;
  const kinds = new Map(), places = new Map();
  const add = (sums, key, time) => sums.set(key, (sums.get(key) ?? 0) + time);
  for (const step of criticalPath) {
    const time = step.until - step.from;
    add(kinds, stepKind(step), time);
    if (step.task >= 0) add(places, devices[deviceSets[tasks.devices[step.task]][0]].name, time);
  }
  const rows = sums => [...sums].filter(([, time]) => time > 0).sort((a, b) => b[1] - a[1]).slice(0, 12).map(([name, time]) => ({
    cells: [sums === places ? deviceName(name) : name, bar(time / makespan), formatTime(time), formatPercent(time / makespan)]}));
  byId('path').hidden = false;
  byId('path').append(
    table(['Spent on', '', 'Time', 'Of makespan'], rows(kinds)), table(['Where', '', 'Time', 'Of makespan'], rows(places)),
    element('p', {class: 'caption'}, `${plural(criticalPath.length, 'step')} that follow each other without a hole from 0 to the ` +
      'makespan: to gain anything, one must become shorter or two change their order. The button "Critical path" draws it.'));
}

/// "block.0 to block.3, head": layers with operators on a device, neighbours joined.
const layersOf = (() => {
  const names = new Map(), order = [];
  operators.layer.forEach(layer => {
    if (layer < 0 || names.has(layer)) return;
    names.set(layer, order.length);
    order.push(source.words[layer]);
  });
  const held = devices.map(() => new Set());
  for (let task = 0; task < tasks.count; task++) {
    const layer = operators.layer[tasks.op[task]];
    if (layer < 0) continue;
    for (const device of deviceSets[tasks.devices[task]]) held[device].add(names.get(layer));
  }
  return device => {
    const sorted = [...held[device]].sort((a, b) => a - b), runs = [];
    for (const layer of sorted) {
      if (runs.length && runs[runs.length - 1][1] === layer - 1) runs[runs.length - 1][1] = layer;
      else runs.push([layer, layer]);
    }
    const texts = runs.slice(0, 4).map(([first, last]) => first === last ? order[first] : `${order[first]} to ${order[last]}`);
    if (runs.length > 4) texts.push('…');
    return sorted.length ? `${sorted.length}: ${texts.join(', ')}` : '–';
  };
})();

// --- Side by side ------------------------------------------------------------------------------

const BESIDE_NAME = 150, BESIDE_TIME = 76;  // pixels left (the least where there is room) and right of the pictures

/// Every schedule of the comparison as a small picture, all on one time axis; red: the lower bound.
function drawBeside() {
  const {rows, until, slices} = source.beside;
  if (rows.length < 2) return;
  const panel = byId('beside');
  panel.hidden = false;
  let canvas = panel.querySelector('canvas');
  if (!canvas) {
    canvas = element('canvas', {role: 'img', 'aria-label': `Schedules on one time axis: ${rows.map(row => `${row.name} ${formatTime(row.makespan)}`).join(', ')}`});
    panel.append(canvas, element('p', {class: 'caption'}, 'Compute stream of each device, a line each; colours are phases. ' +
      'Red: lower bound. Name in red: exceeds the memory limit.'));
  }
  const lane = Math.max(2, Math.min(7, Math.floor(56 / devices.length)));
  const height = devices.length * lane + 10;
  const width = panel.clientWidth - 24;
  const context = prepare(canvas, width, rows.length * height);
  context.font = `600 ${FONT}`;
  const left = rows.reduce((most, row) => Math.max(most, context.measureText(row.name).width + 10), narrow.matches ? 0 : BESIDE_NAME);
  const plot = Math.max(100, width - left - BESIDE_TIME);
  context.textBaseline = 'middle';
  const scale = plot / slices;
  rows.forEach((row, index) => {
    const top = index * height + 5;
    context.fillStyle = row.fits_memory ? ink.text : ink.bad;
    context.font = row.name === 'opweave' || row.name.startsWith('plan') ? `600 ${FONT}` : FONT;
    context.fillText(row.name, 0, top + height / 2 - 5);
    context.fillStyle = ink.track;
    context.fillRect(left, top, plot, height - 10);
    row.lanes.forEach((cells, device) => {
      for (let slice = 0; slice < cells.length;) {
        let end = slice + 1;
        while (end < cells.length && cells[end] === cells[slice]) end++;
        if (cells[slice] !== '.') {
          context.fillStyle = phasePalette[Number(cells[slice])];
          context.fillRect(left + slice * scale, top + device * lane, (end - slice) * scale, lane > 3 ? lane - 1 : lane);
        }
        slice = end;
      }
    });
    context.fillStyle = ink.muted;
    context.fillText(formatTime(row.makespan), left + plot + 8, top + height / 2 - 5);
  });
  const bound = source.bounds[0];
  if (bound && until > 0) {
    context.fillStyle = ink.bad;
    context.fillRect(left + bound.value / until * plot, 0, 1.5, rows.length * height);
  }
}
