// Key figures, tables, and the progress of the search.

function figure(label, value, note, tone = '', title = '') {
  return element('div', {class: 'figure', title},
    element('div', {class: 'label'}, label), element('div', {class: `value ${tone}`}, value), element('div', {class: 'note'}, note));
}

const deviceName = name => element('span', {class: 'name'}, name);

/// Weights, gradients and optimizer state of what lives on a device for good, and at the peak what comes and goes.
function memoryParts({peak, statistics}) {
  const {gradient_bytes_per_weight_byte: gradients, optimizer_bytes_per_weight_byte: optimizer} = source.settings;
  const weights = statistics.persistent_memory / (1 + gradients + optimizer);
  return [['weights', weights, '--phase-f'], ['gradients', weights * gradients, '--phase-w'],
          ['optimizer', weights * optimizer, '--phase-o'],
          ['activations', Math.max(0, peak - statistics.persistent_memory), '--phase-b']];
}

/// What is computed per second, against what the devices could; empty where operations are unknown.
function speedFigures() {
  const {flops, peak_flops_per_s: peak, dtype, tokens} = source.work;
  if (!makespan) return [];
  const seconds = makespan / 1e9, result = [];
  if (flops) {
    const rate = flops / seconds;
    if (peak) {
      result.push(figure('MFU', formatPercent(rate / peak), `of ${significant(peak / 1e12)} TFLOP/s in ${dtype}`, '',
        'operations of the graph without the optimizer, over what all devices could do in the makespan'));
    }
    result.push(figure('TFLOP/s', significant(rate / 1e12),
      devices.length > 1 ? `${significant(rate / 1e12 / devices.length)} per device` : `${significant(flops / 1e12)} Tflop`));
  }
  if (tokens) {
    result.push(figure('Tokens/s', significant(tokens / seconds),
      devices.length > 1 ? `${significant(tokens / seconds / devices.length)} per device` : `${formatCount(tokens)} per iteration`));
  }
  return result;
}

/// Where the durations come from.
function originOfTimes() {
  const {given, from_peak_rates: rates, times} = source.work;
  return [times || (given ? `${plural(given, 'operator')} as in the graph` : ''),
          rates ? `${plural(rates, 'operator')} by the peak rates of the devices` : ''].filter(text => text).join(', ') || '–';
}

function showFigures() {
  const {statistics, bounds, provenance} = source;
  const best = bounds[0];
  const gap = makespan && best ? (makespan - best.value) / makespan : 0;
  const optimal = source.status === 'optimal';
  const proven = source.settings.blocks ? `no plan in pieces by ${source.settings.blocks} is shorter` : 'no plan is shorter';
  const peak = devices.reduce((most, device) => device.peak > most.peak ? device : most, devices[0]);
  byId('figures').append(
    figure('Makespan', formatTime(makespan), `period ${formatTime(statistics.period)}`, '', exactTime(makespan)),
    figure('Lower bound', best ? formatTime(best.value) : 'none', best ? best.name : 'nothing proven', '', best ? exactTime(best.value) : ''),
    figure('Gap', best ? formatPercent(gap) : 'unknown', best ? `${formatTime(makespan - best.value)} to bound` : '',
           optimal ? 'good' : ''),
    figure('Status', optimal ? 'optimal' : 'feasible', optimal ? proven : `limit: ${provenance.limit || 'none'}`, optimal ? 'good' : ''),
    figure('Bubble ratio', formatPercent(statistics.bubble_ratio), 'idle compute time'),
    figure('Utilisation', formatPercent(statistics.utilisation), 'of compute time'),
    ...speedFigures(),
    figure('Peak memory', formatBytes(peak.peak),
           element('span', {}, deviceName(peak.name), peak.capacity === null ? ', no limit' : `, limit ${formatBytes(peak.capacity)}`),
           peak.capacity !== null && peak.peak > peak.capacity ? 'bad' : '', exactBytes(peak.peak)),
    figure('Parameter copies', String(statistics.parameter_copies), `${formatBytes(statistics.bytes_moved)} moved`));
}

function showHeader() {
  byId('subject').textContent = `${source.graph} on ${source.cluster}`;
  document.title = `${source.graph} on ${source.cluster} · opweave`;
  const {microbatches, replicas} = source.settings;
  byId('summary').textContent = [
    plural(tasks.count, 'task'), plural(operators.name.length, 'operator'),
    microbatches === 1 ? '1 microbatch' : `${formatCount(microbatches)} microbatches`,
    ...(replicas > 1 ? [plural(replicas, 'replica')] : []),
    plural(devices.length, 'device'), plural(transfers.count, 'transfer')].join(' · ');
}

/// A table; a heading that starts with "<" is aligned to the left, as are its cells.
function table(headings, rows) {
  const alignment = headings.map(heading => heading.startsWith('<') ? {class: 'text'} : {});
  const head = element('tr', {}, ...headings.map((heading, i) => element('th', {scope: 'col', ...alignment[i]}, heading.replace('<', ''))));
  const body = rows.map(({cells, className}) =>
    element('tr', className ? {class: className} : {}, ...cells.map((cell, i) => element('td', alignment[i], cell))));
  return element('div', {class: 'scroll'}, element('table', {}, element('thead', {}, head), element('tbody', {}, ...body)));
}

function bar(share, className = '', mark = null) {
  const fill = element('i', {class: className});
  fill.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  const track = element('span', {class: 'bar', 'aria-hidden': 'true'}, fill);
  if (mark !== null) {
    const line = element('s');
    line.style.left = `calc(${100 * mark}% - 1px)`;
    track.append(line);
  }
  return track;
}

/// What the peak of a device is made of.
function splitBar(device) {
  const track = element('span', {class: 'stack', 'aria-hidden': 'true'});
  for (const [name, bytes, colour] of memoryParts(device)) {
    const part = element('i', {title: `${name} ${formatBytes(bytes)}`});
    part.style.width = `${100 * bytes / Math.max(device.peak, 1)}%`;
    part.style.background = `var(${colour})`;
    track.append(part);
  }
  return track;
}

function verdict(fits) {
  return element('span', {class: fits ? 'good' : 'bad'}, fits ? 'fits' : 'exceeds');
}

function showComparison() {
  const rows = source.comparison;
  if (rows.length === 0) return;
  const longest = rows.reduce((most, row) => Math.max(most, row.makespan), 1);
  const shortest = rows.filter(row => row.fits_memory).reduce((least, row) => Math.min(least, row.makespan), Infinity);
  const bound = source.bounds[0];
  byId('comparison').hidden = false;
  byId('comparison').append(
    table(['Schedule', '', 'Makespan', 'Gap', 'Bubble', 'Peak', 'Memory', 'Copies'], rows.map(row => ({
      className: row.fits_memory && row.makespan === shortest ? 'best' : '',
      cells: [row.name, bar(row.makespan / longest, row.fits_memory ? '' : 'over', bound ? bound.value / longest : null),
              formatTime(row.makespan), row.gap === null ? '–' : formatPercent(row.gap), formatPercent(row.bubble_ratio),
              formatBytes(row.peak_memory), verdict(row.fits_memory), String(row.parameter_copies)],
    }))),
    element('p', {class: 'caption'},
      `Bold: shortest within the memory limit. Grey bar: exceeds it.${bound ? ` Red line: lower bound ${formatTime(bound.value)}.` : ''}`));
}

function showDevices() {
  byId('devices').append(table(
    ['Device', '<Type', '<Layers', '<Compute busy', '', 'Bubble', 'Idle inside', 'Peak memory', 'Limit', '<Split', 'Weights', 'Gradients',
     'Optimizer', 'Activations', 'Sent', 'Received'],
    devices.map(({index, name, type, capacity, statistics}) => ({cells: [
      deviceName(name), type || '–', layersOf(index), bar(makespan ? statistics.compute_busy / makespan : 0),
      `${formatTime(statistics.compute_busy)}, ${formatPercent(makespan ? statistics.compute_busy / makespan : 0)}`,
      formatTime(statistics.bubble), formatTime(statistics.span_idle),
      formatBytes(statistics.peak_memory), capacity === null ? 'none' : formatBytes(capacity),
      splitBar(devices[index]), ...memoryParts(devices[index]).map(([, bytes]) => formatBytes(bytes)),
      formatBytes(statistics.bytes_sent), formatBytes(statistics.bytes_received)]}))),
    element('p', {class: 'caption'}, 'Bubble: makespan minus busy time of the compute stream. Idle inside: the part of it between the ' +
      'first start and the last end on the device. Activations: at the peak, with workspaces and what is on its way.'));
  showParameters();
}

const MOST_PARAMETERS = 2000;  // of a device; more would make the page slow, and nobody reads them

/// Per device a line that opens to the parameters that live there, the largest first; filled when it is opened.
function showParameters() {
  if (parameters.name.length === 0) return;
  const list = device => {
    const sorted = [...device.parameters].sort((a, b) => parameters.bytes[b] - parameters.bytes[a] || a - b);
    const left = sorted.length - MOST_PARAMETERS;
    return [
      table(['<Parameter', 'Bytes', 'Of the device\'s'], sorted.slice(0, MOST_PARAMETERS).map(index => ({cells: [
        parameters.name[index], exactBytes(parameters.bytes[index]),
        formatPercent(parameters.bytes[index] / (device.statistics.persistent_memory || 1))]}))),
      ...(left > 0 ? [element('p', {class: 'caption'}, `and ${plural(left, 'smaller one')}`)] : [])];
  };
  byId('devices').append(element('h3', {}, 'Parameters'), element('div', {class: 'scroll'}, ...devices.filter(device => device.parameters.length > 0).map(device => {
    const details = element('details', {class: 'parameters'}, element('summary', {}, deviceName(device.name),
      `: ${plural(device.parameters.length, 'parameter')}, ${formatBytes(device.statistics.persistent_memory)}`));
    details.addEventListener('toggle', () => {
      if (details.open && details.childElementCount === 1) details.append(...list(device));
    });
    return details;
  })), element('p', {class: 'caption'}, 'Bytes: weights, gradients and optimizer state of a parameter on one device.'));
}

function showBounds() {
  if (source.bounds.length === 0) return;
  byId('bounds').hidden = false;
  byId('bounds').append(
    table(['Bound', '<Where it binds', '', 'Value', 'Of makespan'], source.bounds.map(({name, value, detail}) => ({cells: [
      name, detail || '–', bar(makespan ? value / makespan : 0), exactTime(value, makespan), makespan ? formatPercent(value / makespan) : '–']}))),
    element('p', {class: 'caption'}, 'Each is a proof: no valid plan is shorter' + (source.settings.blocks ? `, in pieces by ${source.settings.blocks} where it says (blocks).` : '.')));
}

function showProvenance() {
  const {provenance, settings} = source;
  const list = element('dl');
  const add = (label, text) => list.append(element('dt', {}, label), element('dd', {}, text));
  add('Command', provenance.command ? element('code', {}, provenance.command) : 'none: a program called the library');
  add('Version', `opweave ${provenance.version}`);
  add('Found by', provenance.method || '–');
  add('Seed', provenance.seed);
  add('Limit', provenance.limit || 'none');
  if (provenance.seconds !== null) add('Planning time', `${significant(provenance.seconds)} s`);
  add('Times', originOfTimes());
  add('Graph', `${source.graph}, hash ${provenance.graph_hash || '–'}`);
  add('Cluster', `${source.cluster}, hash ${provenance.cluster_hash || '–'}`);
  add('Microbatches', formatCount(settings.microbatches));
  add('Replicas', formatCount(settings.replicas));
  add('Contention', settings.contention);
  if (settings.blocks) add('Blocks', settings.blocks);
  add('Memory limit', settings.memory_limit === null ? 'that of each device' : exactBytes(settings.memory_limit));
  add('Gradients, optimizer', `${settings.gradient_bytes_per_weight_byte} and ${settings.optimizer_bytes_per_weight_byte} bytes per byte of weights`);
  byId('provenance').append(list);
}

// --- Search over time --------------------------------------------------------------------------

function svgElement(tag, attributes, text = '') {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

/// Makespan of the best plan over planning time; logarithmic in time where early finds would vanish.
function progressChart(points, bound) {
  const [width, height, left, right, top, bottom] = [narrow.matches ? 330 : 560, 220, 66, 22, 10, 26];
  const first = Math.max(points[0].seconds, 1e-3);
  const last = Math.max(source.provenance.seconds ?? 0, points[points.length - 1].seconds, first * 1.01);
  const logarithmic = isLogarithmic(points);
  const place = logarithmic ? Math.log10 : value => value;
  const from = logarithmic ? first : 0;
  const x = seconds => left + (place(Math.max(seconds, from)) - place(from)) / (place(last) - place(from)) * (width - left - right);
  const values = [...points.map(point => point.makespan), ...(bound === null ? [] : [bound])];
  const low = Math.min(...values), high = Math.max(...values);
  const margin = (high - low || high * 0.1 || 1) * 0.08;
  const y = value => top + (high + margin - value) / (high - low + 2 * margin) * (height - top - bottom);

  const chart = svgElement('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img',
    'aria-label': `Best makespan from ${formatTime(points[0].makespan)} to ${formatTime(points[points.length - 1].makespan)}`});
  for (const value of high === low ? [low] : roundTicks(low, high, unitFor(high, TIME_UNITS)[0])) {
    chart.append(svgElement('line', {class: 'grid', x1: left, x2: width - right, y1: y(value), y2: y(value)}),
                 svgElement('text', {x: left - 6, y: y(value) + 4, 'text-anchor': 'end'}, exactTime(value, high)));
  }
  for (const tick of logarithmic ? logarithmicTicks(from, last) : roundTicks(0, last)) {
    chart.append(svgElement('text', {x: x(tick), y: height - 8, 'text-anchor': 'middle'}, `${significant(tick)} s`));
  }
  if (bound !== null) {
    chart.append(svgElement('line', {class: 'bound', x1: left, x2: width - right, y1: y(bound), y2: y(bound)}));
  }
  let path = `M${x(points[0].seconds)},${y(points[0].makespan)}`;
  for (const point of points.slice(1)) path += `H${x(point.seconds)}V${y(point.makespan)}`;
  chart.append(svgElement('path', {class: 'incumbent', d: `${path}H${x(last)}`}));
  for (const point of points) {
    const dot = svgElement('circle', {class: 'dot', cx: x(point.seconds), cy: y(point.makespan), r: 3});
    dot.append(svgElement('title', {}, `${significant(point.seconds)} s: ${exactTime(point.makespan)}, ${point.method}`));
    chart.append(dot);
  }
  return chart;
}

const isLogarithmic = points => Math.max(source.provenance.seconds ?? 0, points[points.length - 1].seconds) / Math.max(points[0].seconds, 1e-3) > 30;

function showProgress() {
  const points = source.provenance.trajectory;
  if (points.length === 0) return;
  const bound = source.bounds[0]?.value ?? null;
  const drawing = element('div');
  byId('progress').hidden = false;
  byId('progress').append(drawing, element('p', {class: 'caption'},
    `Line: best makespan known${bound === null ? '' : ', dashed: lower bound'}${isLogarithmic(points) ? '; time is logarithmic' : ''}. ` +
    `Last found by ${points[points.length - 1].method}.`));
  drawForWindow(() => drawing.replaceChildren(progressChart(points, bound)));
}
