// Pointer, keyboard, toolbar and search.

const byId = id => document.getElementById(id);
const tooltip = byId('tooltip');
const pointer = {time: null, task: -1};
const MOST_LISTED = 4;  // transfers in the line about the selected operator

// --- Tooltip and selection ---------------------------------------------------------------------

function showTooltip(event, title, rows) {
  const list = element('dl');
  for (const [label, text] of rows) list.append(element('dt', {}, label), element('dd', {}, text));
  tooltip.replaceChildren(element('b', {}, title), list);
  tooltip.hidden = false;
  const box = tooltip.getBoundingClientRect();
  const left = event.clientX + 16 + box.width < innerWidth ? event.clientX + 16 : event.clientX - box.width - 12;
  const top = Math.min(event.clientY + 14, innerHeight - box.height - 6);
  tooltip.style.left = `${Math.max(4, left)}px`;
  tooltip.style.top = `${Math.max(4, top)}px`;
}

function hideTooltip() {
  tooltip.hidden = true;
  pointer.time = null;
  pointer.task = -1;
  drawOverlay();
}

function select(task) {
  view.selected = task;
  view.selectedTransfers = [];
  byId('selection').replaceChildren();
  if (task >= 0) {
    const {incoming, outgoing} = transfersOf(task);
    view.selectedTransfers = [...incoming, ...outgoing];
    const list = element('dl');
    const add = (label, text) => list.append(element('div', {}, element('dt', {}, label), element('dd', {}, text)));
    describeTask(task).forEach(row => add(...row));
    for (const [label, transfersThere] of [['receives', incoming], ['sends', outgoing]]) {
      for (const transfer of transfersThere.slice(0, MOST_LISTED)) add(label, describeTransfer(transfer));
      if (transfersThere.length > MOST_LISTED) add(label, `${formatCount(transfersThere.length - MOST_LISTED)} more`);
    }
    byId('selection').append(element('div', {}, element('b', {}, taskName(task)), list));
  }
  redraw();
}

function stepSelection(step) {
  if (view.selected < 0) {
    const lane = view.rows.find(row => row.kind === 'lane' && row.lane.tasks.length)?.lane;
    if (lane) select(lane.tasks[Math.min(upperBound(lane.reach, view.from), lane.tasks.length - 1)]);
    return;
  }
  const lane = devices[deviceSets[tasks.devices[view.selected]][0]].laneOf.get(heldStreams(tasks.op[view.selected])[0]);
  const next = lane.tasks[lane.tasks.indexOf(view.selected) + step];
  if (next === undefined) return;
  select(next);
  reveal(next, false);
}

function describeMemory(device, time) {
  const {memory, capacity} = device;
  const bytes = memory.bytes[Math.max(0, upperBound(memory.time, time) - 1)] ?? 0;
  const rows = [['time', formatTime(time)], ['in use', exactBytes(bytes)],
                ['parameters', exactBytes(device.statistics.persistent_memory)], ['peak', exactBytes(device.peak)]];
  rows.push(['limit', capacity === null ? 'none' : `${exactBytes(capacity)}, ${formatPercent(bytes / capacity)} in use`]);
  return rows;
}

function hover(event) {
  const box = canvases.overlay.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top + lanesBox.scrollTop;
  pointer.time = x >= view.gutter ? xToTime(x) : null;
  pointer.task = -1;
  const row = rowAt(y);
  if (row && pointer.time === null) {
    showTooltip(event, row.device.name, [['type', row.device.type || 'unnamed'],
      ['compute busy', formatPercent(makespan ? row.device.statistics.compute_busy / makespan : 0)],
      ['peak memory', exactBytes(row.device.peak)]]);
  } else if (row?.kind === 'lane') {
    pointer.task = taskAt(row.lane, pointer.time);
    if (pointer.task >= 0) showTooltip(event, taskName(pointer.task), describeTask(pointer.task));
    else tooltip.hidden = true;
  } else if (row?.kind === 'memory') {
    showTooltip(event, `memory of ${row.device.name}`, describeMemory(row.device, pointer.time));
  } else {
    tooltip.hidden = true;
  }
  drawOverlay();
}

// --- Mouse, pen, touch -------------------------------------------------------------------------

let drag = null;       // {x, y, from, scroll, moved} while the lanes are dragged
let lastPageScroll = -Infinity;

canvases.overlay.addEventListener('pointerdown', event => {
  if (event.button !== 0) return;
  lanesBox.focus({preventScroll: true});
  drag = {x: event.clientX, y: event.clientY, from: view.from, scroll: lanesBox.scrollTop, moved: false};
  canvases.overlay.setPointerCapture(event.pointerId);
});
canvases.overlay.addEventListener('pointermove', event => {
  if (!drag) return hover(event);
  if (!drag.moved && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 4) return;
  drag.moved = true;
  canvases.overlay.classList.add('dragging');
  tooltip.hidden = true;
  const span = view.to - view.from;
  const from = drag.from - (event.clientX - drag.x) / view.width * span;
  lanesBox.scrollTop = drag.scroll - (event.clientY - drag.y);
  setRange(from, from + span);
});
canvases.overlay.addEventListener('pointerup', event => {
  const wasClick = drag && !drag.moved;
  drag = null;
  canvases.overlay.classList.remove('dragging');
  if (!wasClick) return;
  hover(event);
  select(pointer.task);
});
canvases.overlay.addEventListener('pointercancel', () => { drag = null; });
canvases.overlay.addEventListener('pointerleave', hideTooltip);
canvases.overlay.addEventListener('dblclick', () => { if (view.selected >= 0) reveal(view.selected, true); });

// A page that scrolls under the pointer goes on scrolling; only a fresh turn of the wheel zooms.
window.addEventListener('scroll', () => { lastPageScroll = performance.now(); }, {passive: true});
lanesBox.addEventListener('wheel', event => {
  if (performance.now() - lastPageScroll < 250) return;
  const x = event.clientX - canvases.overlay.getBoundingClientRect().left;
  if (x < view.gutter) return;  // over the names: scroll the devices
  const pixels = event.deltaMode === 1 ? 16 : 1;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    pan((event.deltaX || event.deltaY) * pixels / view.width * (view.to - view.from));
  } else if (event.deltaY < 0 || !isFitted() || event.ctrlKey) {
    event.preventDefault();
    zoom(Math.exp(Math.max(-300, Math.min(300, event.deltaY * pixels)) * 0.002), xToTime(x));
  }
}, {passive: false});
lanesBox.addEventListener('scroll', redraw, {passive: true});

// On the axis a drag selects a range; above it, on the overview, of the whole plan.
let selecting = null;  // {time, toTime}
function axisTime(event, onOverview) {
  const x = event.clientX - canvases.axis.getBoundingClientRect().left;
  const share = Math.min(1, Math.max(0, (x - view.gutter) / view.width));
  return onOverview ? share * makespan : view.from + share * (view.to - view.from);
}
canvases.axis.addEventListener('pointerdown', event => {
  const onOverview = event.clientY - canvases.axis.getBoundingClientRect().top < OVERVIEW_HEIGHT;
  selecting = {onOverview, x: event.clientX, time: axisTime(event, onOverview)};
  canvases.axis.setPointerCapture(event.pointerId);
});
canvases.axis.addEventListener('pointermove', event => {
  if (!selecting) return;
  drawAll();
  const context = canvases.axis.getContext('2d');
  const left = canvases.axis.getBoundingClientRect().left;
  context.fillStyle = ink.accent;
  context.globalAlpha = 0.3;
  context.fillRect(selecting.x - left, 0, event.clientX - selecting.x, AXIS_HEIGHT);
  context.globalAlpha = 1;
});
canvases.axis.addEventListener('pointerup', event => {
  if (!selecting) return;
  const {onOverview, x, time} = selecting;
  selecting = null;
  const other = axisTime(event, onOverview);
  const span = view.to - view.from;
  if (Math.abs(event.clientX - x) >= 4) setRange(Math.min(time, other), Math.max(time, other));
  else setRange(time - span / 2, time + span / 2);
});

// --- Toolbar -----------------------------------------------------------------------------------

function setColours(by) {
  view.colourBy = by;
  for (const name of Object.keys(groupings)) byId(`colour-${name}`).setAttribute('aria-checked', String(name === by));
  loadColours();
  drawLegend();
  redraw();
}

function nextColours() {
  const at = usefulGroupings.indexOf(view.colourBy);
  if (usefulGroupings.length > 0) setColours(usefulGroupings[(at + 1) % usefulGroupings.length]);
}

function toggle(name, button) {
  view[name] = !view[name];
  byId(button).setAttribute('aria-pressed', String(view[name]));
  resize();
}

function changeDensity(step) {
  view.density = Math.min(DENSITIES.length - 1, Math.max(0, view.density + step));
  resize();
}

function drawLegend() {
  const items = legendEntries().map(({name, fill}) => {
    const swatch = element('i');
    swatch.style.background = fill;
    return element('span', {}, swatch, name);
  });
  if (view.showMemory && devices.some(device => device.capacity !== null)) {
    const line = element('i', {class: 'line'});
    line.style.borderColor = ink.bad;
    items.push(element('span', {}, line, memoryLimitText()));
  }
  if (view.showPath) {
    const line = element('i', {class: 'line'});
    line.style.borderTop = `2px solid ${ink.path}`;
    items.push(element('span', {}, line, 'critical path'));
  }
  if (view.showIdle) items.push(element('span', {}, 'idle:'), ...idleLegend());
  if (leftOutOfLabels) items.push(element('span', {}, `names of devices without “${leftOutOfLabels}” in front`));
  byId('legend').replaceChildren(...items);
}

function memoryLimitText() {
  const limits = [...new Set(devices.map(device => device.capacity).filter(limit => limit !== null))];
  const drawn = limits.some(limit => limit <= memoryTop) ? '' : ', above the scale';
  return limits.length === 1 ? `memory limit ${formatBytes(limits[0])}${drawn}` : `memory limits${drawn}`;
}

const THEMES = ['auto', 'light', 'dark'];
function setTheme(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId('theme-button').textContent = `Theme: ${theme}`;
  try { localStorage.setItem('opweave-theme', theme); } catch { /* private mode: the choice lasts for this page */ }
  setColours(view.colourBy);
  drawBeside();
}
function currentTheme() {
  return document.documentElement.dataset.theme ?? 'auto';
}
const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(currentTheme()) + 1) % THEMES.length]);

function download(blob, name) {
  const link = element('a', {download: name, href: URL.createObjectURL(blob)});
  link.click();
  URL.revokeObjectURL(link.href);
}

function savePicture() {
  const canvas = document.createElement('canvas');
  drawPicture(prepare(canvas, ...pictureSize()));
  canvas.toBlob(blob => download(blob, 'opweave-plan.png'));
}

function saveDrawing() {
  const context = new SvgContext(...pictureSize());
  drawPicture(context);
  download(new Blob([context.text()], {type: 'image/svg+xml'}), 'opweave-plan.svg');
}

// --- Search ------------------------------------------------------------------------------------

const search = {hits: [], at: -1};

/// "attention" finds every microbatch, "attention#3" one of them.
function runSearch() {
  const query = byId('query').value.trim().toLowerCase();
  search.hits = [];
  search.at = -1;
  view.matching = null;
  if (query) {
    const [, text, number] = query.match(/^(.*?)(?:#(\d+))?$/);
    const named = operators.name.map(name => name.toLowerCase().includes(text) || name.toLowerCase() === query);
    view.matching = new Uint8Array(tasks.count);
    for (let task = 0; task < tasks.count; task++) {
      const op = tasks.op[task];
      if (!named[op] || (number !== undefined && tasks.copy[task] !== Number(number))) continue;
      view.matching[task] = 1;
      search.hits.push(task);
    }
  }
  showMatchCount();
  redraw();
}

function showMatchCount() {
  const count = search.hits.length;
  byId('matches').textContent = view.matching === null ? ''
    : search.at >= 0 ? `${formatCount(search.at + 1)} of ${formatCount(count)}`
    : count === 0 ? 'no match' : `${formatCount(count)} found`;
}

function stepMatch(step) {
  const count = search.hits.length;
  if (count === 0) return;
  search.at = search.at < 0 ? (step > 0 ? 0 : count - 1) : (search.at + step + count) % count;
  select(search.hits[search.at]);
  reveal(search.hits[search.at], false);
  showMatchCount();
}

function clearAll() {
  byId('query').value = '';
  runSearch();
  select(-1);
}

// --- Keyboard ----------------------------------------------------------------------------------

const KEYS = {
  '+': () => zoom(0.7), '=': () => zoom(0.7), '-': () => zoom(1 / 0.7),
  'ArrowLeft': () => pan(-0.1 * (view.to - view.from)), 'ArrowRight': () => pan(0.1 * (view.to - view.from)),
  '0': fit, 'f': fit,
  ',': () => stepSelection(-1), '.': () => stepSelection(1),
  '/': () => byId('query').focus(),
  'n': () => stepMatch(1), 'p': () => stepMatch(-1),
  'c': nextColours,
  't': () => toggle('showTransfers', 'show-transfers'),
  'm': () => toggle('showMemory', 'show-memory'),
  'k': () => toggle('showPath', 'show-path'),
  'i': () => toggle('showIdle', 'show-idle'),
  '[': () => changeDensity(-1), ']': () => changeDensity(1),
  'd': nextTheme,
  '?': () => byId('keys').showModal(),
  'Escape': clearAll,
};
/// Keys that mean something else on other focused elements.
const LANE_KEYS = {
  'ArrowUp': () => lanesBox.scrollBy(0, -60), 'ArrowDown': () => lanesBox.scrollBy(0, 60),
  'Enter': () => { if (view.selected >= 0) reveal(view.selected, true); },
};

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId('keys').open) return;
  const typing = event.target === byId('query');
  if (typing && event.key !== 'Escape') return;
  if (typing) lanesBox.focus();
  const action = KEYS[event.key] ?? (event.target === lanesBox ? LANE_KEYS[event.key] : undefined);
  if (!action) return;
  event.preventDefault();
  action();
});

// --- Wiring ------------------------------------------------------------------------------------

function connectControls() {
  const actions = {
    'show-transfers': KEYS.t, 'show-memory': KEYS.m, 'show-path': KEYS.k, 'show-idle': KEYS.i,
    'zoom-in': KEYS['+'], 'zoom-out': KEYS['-'], 'zoom-fit': fit,
    'rows-lower': KEYS['['], 'rows-higher': KEYS[']'], 'save-picture': savePicture, 'save-drawing': saveDrawing,
    'match-previous': KEYS.p, 'theme-button': nextTheme, 'keys-button': KEYS['?'],
  };
  for (const [id, action] of Object.entries(actions)) byId(id).addEventListener('click', action);
  byId('query').addEventListener('input', runSearch);
  byId('search').addEventListener('submit', event => {
    event.preventDefault();
    stepMatch(1);
  });
  for (const name of Object.keys(groupings)) {
    byId(`colour-${name}`).addEventListener('click', () => setColours(name));
    byId(`colour-${name}`).disabled = !usefulGroupings.includes(name);
  }
  byId('show-transfers').disabled = transfers.count === 0;
  byId('show-path').disabled = criticalPath.length === 0;
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => setTheme(currentTheme()));
}
