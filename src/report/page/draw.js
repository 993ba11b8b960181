// Drawing on canvas. Everything below one pixel is gathered per pixel column first, so the cost of a
// picture follows the pixels of the visible lanes, and no operator vanishes or is drawn too wide.

const canvases = {axis: document.getElementById('axis'), cells: document.getElementById('cells'),
                  overlay: document.getElementById('overlay')};
const FONT = '11px system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif';
const NARROWEST_CELL = 1;      // pixels; below, cells are gathered per column
const NARROWEST_LABEL = 15;
const MOST_ARROWS = 4000;      // more are a grey cloud, and slow
const DIMMED = 0.14;

const letterWidth = (() => {
  const context = canvases.cells.getContext('2d');
  context.font = FONT;
  const sample = 'abcdefghijklmnopqrstuvwxyz.0123456789';
  return context.measureText(sample).width / sample.length * 1.08;  // some words are wider than the average
})();

// --- Lanes -------------------------------------------------------------------------------------

/// Gathers the cells of a lane that are narrower than a pixel, and paints column by column.
class ColumnGatherer {
  constructor(context, y, height) {
    Object.assign(this, {context, y, height, column: -1, busy: 0, matched: 0});
    this.byColour = new Float32Array(palette.length);
  }
  add(x, width, colour, matches) {
    const column = Math.floor(x);
    if (column !== this.column) {
      this.flush();
      this.column = column;
    }
    const share = Math.max(width, 0.15);  // an operator of no duration still leaves a trace
    this.busy += share;
    if (matches) this.matched += share;
    // Matching operators decide the colour where there are any.
    this.byColour[colour] += matches ? share * 1000 : share;
  }
  flush() {
    if (this.busy === 0) return;
    let colour = 0;
    for (let i = 1; i < this.byColour.length; i++) if (this.byColour[i] > this.byColour[colour]) colour = i;
    const coverage = Math.min(1, this.busy);
    this.context.globalAlpha = !view.matching ? coverage : this.matched > 0 ? Math.max(0.7, coverage) : DIMMED;
    this.context.fillStyle = palette[colour].fill;
    this.context.fillRect(this.column, this.y, 1, this.height);
    this.context.globalAlpha = 1;
    this.byColour.fill(0);
    this.busy = this.matched = 0;
  }
}

/// As many parts from the end of a name as there is room for, none of them cut: "…mlp.F"; empty if not even one fits.
function lastParts(name, room) {
  for (const {index} of name.matchAll(SEPARATORS)) {
    const rest = name.slice(index + 1);
    if (rest && rest.length < room) return `…${rest}`;
  }
  return '';
}

function cellLabel(task, width) {
  const op = tasks.op[task];
  const number = microbatches > 1 && operators.phase[op] !== OPTIMIZER ? String(tasks.copy[task]) : '';
  const letters = Math.floor((width - 7) / letterWidth);
  const room = letters - number.length - (number ? 1 : 0);
  // The name, or the layer or as much of its end as fits, or what it is: the last parts tell more than the first.
  const name = operators.name[op], kind = source.words[operators.kind[op]] ?? '', layer = source.words[operators.layer[op]] ?? '';
  const text = name.length <= room ? name
    : layer && layer.length <= room ? layer
    : (layer && lastParts(layer, room)) || (kind.length <= room && kind) || lastParts(name, room);
  if (text) return number ? `${number} ${text}` : text;
  return number.length <= letters ? number : '';
}

function drawLane(context, row, y) {
  const {tasks: members, reach} = row.lane;
  const {height} = row;
  context.fillStyle = ink.track;
  context.fillRect(view.gutter, y, view.width, height);
  const scale = view.width / (view.to - view.from);
  const gatherer = new ColumnGatherer(context, y, height);
  const labels = [];
  if (view.showIdle && row.lane.stream === 0) drawIdle(context, row, y);
  for (let i = upperBound(reach, view.from); i < members.length; i++) {
    const task = members[i];
    const start = tasks.start[task];
    if (start >= view.to) break;
    const matches = view.matching !== null && view.matching[task] === 1;
    const x = Math.max(view.gutter + (start - view.from) * scale, view.gutter);
    const right = Math.min(view.gutter + (tasks.end[task] - view.from) * scale, view.gutter + view.width);
    const colour = colourIndex(task);
    if (right - x < NARROWEST_CELL) {
      if (right >= x) gatherer.add(x, right - x, colour, matches);
      continue;
    }
    gatherer.flush();
    // Whole pixels: two neighbours that share one would both be washed out.
    const left = Math.round(x), width = Math.round(right) - left;
    context.globalAlpha = view.matching && !matches ? DIMMED : 1;
    context.fillStyle = palette[colour].fill;
    context.fillRect(left, y, width > 4 ? width - 1 : width, height);
    if (width >= NARROWEST_LABEL && height >= LOWEST_LABEL) labels.push(task, left, width, colour);
  }
  gatherer.flush();
  for (let i = 0; i < labels.length; i += 4) {
    const [task, x, width, colour] = labels.slice(i, i + 4);
    const text = cellLabel(task, width);
    if (!text) continue;
    context.globalAlpha = view.matching && view.matching[task] === 0 ? 2 * DIMMED : 1;
    context.fillStyle = palette[colour].text;
    context.fillText(text, x + 4, y + height / 2 + 0.5);
  }
  context.globalAlpha = 1;
}

/// A band in each gap of a compute stream, in the colour of its cause.
function drawIdle(context, row, y) {
  const {cause, from, until} = row.device.idle;
  const inset = Math.round(row.height / 4);
  for (let i = upperBound(until, view.from); i < cause.length && from[i] < view.to; i++) {
    const x = Math.max(view.gutter, timeToX(from[i])), right = Math.min(view.gutter + view.width, timeToX(until[i]));
    context.fillStyle = idlePalette[cause[i]];
    context.fillRect(x, y + inset, Math.max(right - x, 0.3), row.height - 2 * inset);
  }
}

/// The critical path as one line from the start to the makespan, along the lanes of its operators.
function drawPath(context, offset) {
  context.save();
  context.beginPath();
  context.rect(view.gutter, 0, view.width, context.canvas.height);
  context.clip();
  context.beginPath();
  let y = null;
  for (const {from, until, task} of criticalPath) {
    if (task >= 0) y = laneMiddle(deviceSets[tasks.devices[task]][0], tasks.op[task], offset);
    if (y === null || until < view.from || from > view.to) continue;
    context.lineTo(timeToX(from), y);
    context.lineTo(timeToX(until), y);
  }
  context.lineJoin = 'round';
  for (const [colour, width] of [[ink.panel, 4.5], [ink.path, 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
  context.lineWidth = 1;
  context.restore();
}

/// One scale for all devices, so that curves compare. A limit far above every peak would flatten them: it
/// is then named beside the device instead of drawn.
const memoryTop = (() => {
  const peak = devices.reduce((most, device) => Math.max(most, device.peak), 0);
  const limits = devices.map(device => device.capacity).filter(limit => limit !== null && limit <= 2 * peak);
  return Math.max(peak, ...limits, 1) * 1.04;
})();

function drawMemory(context, row, y) {
  const {time, bytes} = row.device.memory;
  const {height} = row;
  const level = value => y + height - value / memoryTop * height;
  context.fillStyle = ink.track;
  context.globalAlpha = 0.5;
  context.fillRect(view.gutter, y, view.width, height);
  context.globalAlpha = 1;

  // Per pixel column the highest level, then the level at its end.
  const right = view.gutter + view.width;
  let i = Math.max(0, upperBound(time, view.from) - 1);
  let current = time.length ? bytes[i] : 0;
  context.beginPath();
  context.moveTo(view.gutter, level(current));
  let column = view.gutter, highest = current;
  for (i++; i < time.length && time[i] < view.to; i++) {
    const x = Math.floor(timeToX(time[i]));
    if (x > column) {
      context.lineTo(column, level(highest));
      context.lineTo(column, level(current));
      context.lineTo(x, level(current));
      [column, highest] = [x, current];
    }
    current = bytes[i];
    highest = Math.max(highest, current);
  }
  context.lineTo(column, level(highest));
  context.lineTo(column, level(current));
  context.lineTo(right, level(current));
  context.strokeStyle = ink.memory;
  context.lineWidth = 1;
  context.stroke();
  context.lineTo(right, y + height);
  context.lineTo(view.gutter, y + height);
  context.fillStyle = ink.memory;
  context.globalAlpha = 0.35;
  context.fill();
  // Parameters, gradients and optimizer state never move: the darker floor.
  const floor = row.device.statistics.persistent_memory;
  context.fillRect(view.gutter, level(floor), view.width, floor / memoryTop * height);
  context.globalAlpha = 1;

  const limit = row.device.capacity;
  if (limit !== null && limit <= memoryTop) {
    context.strokeStyle = ink.bad;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(view.gutter, Math.round(level(limit)) + 0.5);
    context.lineTo(right, Math.round(level(limit)) + 0.5);
    context.stroke();
    context.setLineDash([]);
  }
}

function drawNames(context, block, offset) {
  const y = block.y - offset;
  const {device} = block;
  const sizes = DENSITIES[view.density];
  context.fillStyle = ink.panel;
  context.fillRect(0, y, view.gutter, block.height);
  context.fillStyle = ink.text;
  context.font = `600 ${FONT}`;
  context.textAlign = 'left';
  context.fillText(device.label, 2, y + Math.max(sizes.compute, LOWEST_LABEL) / 2 + 0.5);
  const nameWidth = context.measureText(device.label).width;
  context.font = FONT;
  context.fillStyle = ink.muted;
  context.textAlign = 'right';
  for (const row of view.rows) {
    if (row.device !== device || row.height < LOWEST_LABEL) continue;
    const first = row.y === block.y;
    const text = row.kind === 'lane' ? streams[row.lane.stream] : memoryLabel(device, row.height);
    const room = view.gutter - 10 - (first ? nameWidth + 8 : 0);
    if (context.measureText(text).width <= room) context.fillText(text, view.gutter - 8, row.y - offset + row.height / 2 + 0.5);
  }
  context.textAlign = 'left';
}

function memoryLabel(device, height) {
  return height >= 16 ? `peak ${formatBytes(device.peak)}` : 'memory';
}

/// Lanes, memory and names of the rows between `offset` and `offset + height`.
function drawRows(context, offset, height) {
  context.textBaseline = 'middle';
  context.font = FONT;
  for (const row of view.rows) {
    const y = row.y - offset;
    if (y > height || y + row.height < 0) continue;
    if (row.kind === 'lane') drawLane(context, row, y); else drawMemory(context, row, y);
  }
  for (const block of view.blocks) {
    if (block.y - offset > height || block.y + block.height < offset) continue;
    drawNames(context, block, offset);
  }
  if (view.showTransfers) drawVisibleTransfers(context, offset, height);
  if (view.showPath) drawPath(context, offset);
}

// --- Transfers ---------------------------------------------------------------------------------

const longestTransfer = transfers.end.reduce((most, end, i) => Math.max(most, end - transfers.start[i]), 0);

function laneMiddle(device, op, offset) {
  const row = view.laneRows.get(laneKey(device, op >= 0 ? heldStreams(op)[0] : 0));
  return row.y + row.height / 2 - offset;
}

/// Heights of the two ends of a transfer: the lanes of its producer and of its first consumer.
function arrowEnds(transfer, offset) {
  const tensor = transfers.tensor[transfer];
  return [laneMiddle(transfers.source[transfer], tensors.producer[tensor], offset),
          laneMiddle(transfers.destination[transfer], tensors.consumers[tensor][0] ?? -1, offset)];
}

function drawArrow(context, transfer, offset) {
  const x0 = timeToX(transfers.start[transfer]), x1 = timeToX(transfers.end[transfer]);
  const [y0, y1] = arrowEnds(transfer, offset);
  const bend = Math.max(8, (x1 - x0) / 2);
  context.beginPath();
  context.moveTo(x0, y0);
  context.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
  context.moveTo(x1 - 5, y1 - 3.5);
  context.lineTo(x1, y1);
  context.lineTo(x1 - 5, y1 + 3.5);
  context.moveTo(x0 + 2, y0);
  context.arc(x0, y0, 2, 0, 2 * Math.PI);
  context.stroke();
}

function withArrows(context, draw) {
  context.save();
  context.beginPath();
  context.rect(view.gutter, 0, view.width, context.canvas.height);
  context.clip();
  context.strokeStyle = ink.transfer;
  context.lineWidth = 1.2;
  draw();
  context.restore();
}

/// Draws the transfers of the visible range and rows; where they are too many, says so instead.
function drawVisibleTransfers(context, offset, height) {
  const visible = [];
  for (let i = upperBound(transfers.start, view.from - longestTransfer - 1);
       i < transfers.count && transfers.start[i] < view.to; i++) {
    const [y0, y1] = arrowEnds(i, offset);
    if (transfers.end[i] >= view.from && Math.max(y0, y1) >= 0 && Math.min(y0, y1) <= height) visible.push(i);
  }
  const few = visible.length <= MOST_ARROWS;
  view.note = few ? plural(visible.length, 'transfer') + ' in view'
                  : `${formatCount(visible.length)} transfers in view: zoom in to draw them`;
  if (few) withArrows(context, () => visible.forEach(transfer => drawArrow(context, transfer, offset)));
}

// --- Axis and overview -------------------------------------------------------------------------

/// A round step of which about one fits into every 110 pixels.
function tickStep() {
  const rough = (view.to - view.from) / Math.max(1, view.width / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  return Math.max(1, power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1));
}

function drawAxis(context, top) {
  const step = tickStep();
  const [size, unit] = unitFor(view.to, TIME_UNITS);
  const decimals = Math.max(0, Math.ceil(Math.log10(size / step) - 1e-9));
  context.font = FONT;
  context.textBaseline = 'middle';
  context.fillStyle = ink.muted;
  context.strokeStyle = ink.line;
  context.beginPath();
  for (let tick = Math.ceil(view.from / step); tick * step <= view.to; tick++) {
    const x = Math.round(timeToX(tick * step)) + 0.5;
    context.moveTo(x, top);
    context.lineTo(x, top + 6);
    const text = `${(tick * step / size).toFixed(decimals)} ${unit}`;
    const width = context.measureText(text).width;
    if (x + width / 2 < view.gutter + view.width + 6) context.fillText(text, Math.max(view.gutter, x - width / 2), top + 14);
  }
  context.moveTo(view.gutter, top + 0.5);
  context.lineTo(view.gutter + view.width, top + 0.5);
  context.stroke();
}

const overviewSlices = 1000;
const overview = buildOverview(overviewSlices);

function drawOverview(context) {
  context.fillStyle = ink.track;
  context.fillRect(view.gutter, 0, view.width, OVERVIEW_HEIGHT);
  // Phases lie on top of each other, pixel column by pixel column.
  const reached = new Float64Array(Math.ceil(view.width)).fill(OVERVIEW_HEIGHT);
  overview.forEach((shares, phase) => {
    context.fillStyle = phasePalette[phase];
    for (let column = 0; column < reached.length; column++) {
      const height = shares[Math.floor(column / reached.length * overviewSlices)] * OVERVIEW_HEIGHT;
      if (height === 0) continue;
      reached[column] -= height;
      context.fillRect(view.gutter + column, reached[column], 1, height);
    }
  });
  const all = makespan || 1;
  const left = view.gutter + view.from / all * view.width, right = view.gutter + view.to / all * view.width;
  if (!isFitted()) {
    context.fillStyle = ink.panel;
    context.globalAlpha = 0.65;
    context.fillRect(view.gutter, 0, left - view.gutter, OVERVIEW_HEIGHT);
    context.fillRect(right, 0, view.gutter + view.width - right, OVERVIEW_HEIGHT);
    context.globalAlpha = 1;
    context.strokeStyle = ink.accent;
    context.lineWidth = 2;
    context.strokeRect(left, 1, Math.max(2, right - left), OVERVIEW_HEIGHT - 2);
    context.lineWidth = 1;
  }
  context.fillStyle = ink.muted;
  context.font = FONT;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  context.fillText('devices busy', view.gutter - 8, OVERVIEW_HEIGHT / 2);
  context.textAlign = 'left';
}

// --- Pictures ----------------------------------------------------------------------------------

function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function drawAll() {
  const full = view.gutter + view.width;
  view.note = '';
  const axis = prepare(canvases.axis, full, AXIS_HEIGHT);
  drawOverview(axis);
  drawAxis(axis, OVERVIEW_HEIGHT + 6);
  drawRows(prepare(canvases.cells, full, view.height), lanesBox.scrollTop, view.height);
  drawOverlay();
  document.getElementById('range').textContent =
    `${exactOrShort(view.from)} – ${exactOrShort(view.to)} (${formatTime(view.to - view.from)})`;
  document.getElementById('note').textContent = view.note;
}

const exactOrShort = time => view.to - view.from < makespan / 50 ? exactTime(Math.round(time), makespan) : formatTime(time);

/// What changes with the pointer: cross hair, outlines, transfers of the selected operator.
function drawOverlay() {
  const context = prepare(canvases.overlay, view.gutter + view.width, view.height);
  const offset = lanesBox.scrollTop;
  if (pointer.time !== null) {
    const x = timeToX(pointer.time);
    context.fillStyle = ink.muted;
    context.globalAlpha = 0.6;
    context.fillRect(Math.round(x), 0, 1, view.height);
    context.globalAlpha = 1;
  }
  if (pointer.task >= 0) outline(context, pointer.task, offset, ink.text, 1);
  if (view.selected >= 0) {
    withArrows(context, () => {
      context.lineWidth = 2;
      for (const transfer of view.selectedTransfers) drawArrow(context, transfer, offset);
    });
    outline(context, view.selected, offset, ink.text, 2);
  }
}

function outline(context, task, offset, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  const held = heldStreams(tasks.op[task]);
  const left = Math.max(timeToX(tasks.start[task]), view.gutter);
  const right = Math.min(timeToX(tasks.end[task]), view.gutter + view.width);
  if (right < view.gutter || left > view.gutter + view.width) return;
  for (const row of view.rows) {
    if (row.kind !== 'lane' || !held.includes(row.lane.stream)) continue;
    if (!deviceSets[tasks.devices[task]].includes(row.device.index)) continue;
    context.strokeRect(left - 0.5, row.y - offset - 0.5, Math.max(2, right - left), row.height + 1);
  }
}

const PICTURE_AXIS = 26;
const pictureSize = () => [view.gutter + view.width, view.rowsHeight + PICTURE_AXIS];

/// The visible range of time with all devices, on a canvas or as SVG.
function drawPicture(context) {
  const [width, height] = pictureSize();
  context.fillStyle = ink.panel;
  context.fillRect(0, 0, width, height);
  drawAxis(context, 4);
  context.translate(0, PICTURE_AXIS);
  drawRows(context, 0, view.rowsHeight);
}

let redrawRequested = false;
function redraw() {
  if (redrawRequested) return;
  redrawRequested = true;
  requestAnimationFrame(() => {
    redrawRequested = false;
    drawAll();
  });
}
