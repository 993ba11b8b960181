// The page of a sweep: charts over what varies, and all points as a table.

const source = JSON.parse(document.getElementById('data').textContent);
const rows = source.rows;
const solved = rows.filter(row => row.failure === undefined);
const COST = source.has_price ? 'Price per million tokens' : 'Device-hours per million tokens';
const MEASURES = [
  ['Time of a step', row => row.step_ns / 1e9, value => formatTime(value * 1e9)],
  [COST, row => row.cost, value => significant(value)],
  ['Tokens per second and device', row => row.tokens_per_s / row.devices, value => significant(value)],
  ['MFU', row => row.mfu, formatPercent],
  ['Memory of a device', row => row.memory_bytes, formatBytes]];
const VARIABLES = [['devices', 'devices'], ['global_batch', 'global batch'], ['sequence', 'sequence length'], ['device', 'device type']];
const SVG = 'http://www.w3.org/2000/svg';
const SIZE = {height: 230, left: 64, right: 22, top: 10, bottom: 34};
const ROOM_FOR_PLACE = 44;  // of a number below the axis

// Times of types that nothing was fitted on are estimates beside others that are known to be close.
const deviceName = row => row.device + (row.profile.includes('uncalibrated') ? ' (uncalibrated)' : '');
const distinct = key => [...new Set(rows.map(row => row[key]))];
const varied = VARIABLES.filter(([key]) => distinct(key).length > 1);
// The first number that varies is the axis; what else varies tells the lines apart.
const axis = varied.find(([key]) => key !== 'device') ?? VARIABLES[0];
const others = varied.filter(variable => variable !== axis);
const seriesName = row => others.map(([key, name]) => key === 'device' ? deviceName(row) : `${name} ${formatCount(row[key])}`).join(', ') || 'all';
const names = [...new Set(solved.map(seriesName))];
const colour = name => `oklch(${names.indexOf(name) % 2 ? 0.6 : 0.7} 0.15 ${(250 + 360 * names.indexOf(name) / names.length).toFixed(1)})`;

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/// Lines of `value` over `place`; both are functions of a row. Places stand on a logarithmic axis; where no lines join
/// them, round numbers are named instead of theirs.
function chart(title, value, format, place, placeName, placeFormat, joins = true) {
  const {height, left, right, top, bottom} = SIZE;
  const width = narrow.matches ? 330 : 520;
  const places = [...new Set(solved.map(place))].sort((a, b) => a - b);
  const [low, high] = [Math.log(places[0]), Math.log(places[places.length - 1])];
  const x = at => left + (high === low ? 0.5 : (Math.log(at) - low) / (high - low)) * (width - left - right);
  const largest = Math.max(...solved.map(value)) * 1.05 || 1;
  const y = amount => height - bottom - amount / largest * (height - top - bottom);
  const svg = shape('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${title} over ${placeName}`});
  const unit = format === formatBytes ? 1024 ** Math.floor(Math.log(largest) / Math.log(1024)) : 1;
  for (const tick of roundTicks(0, largest, unit)) {
    svg.append(shape('line', {class: 'grid', x1: left, x2: width - right, y1: y(tick), y2: y(tick)}),
               shape('text', {x: left - 6, y: y(tick) + 4, 'text-anchor': 'end'}, format(tick)));
  }
  let free = -Infinity;
  const round = joins ? [] : logarithmicTicks(places[0], places[places.length - 1]);
  for (const at of round.length > 1 ? round : places) {
    if (x(at) < free) continue;
    free = x(at) + ROOM_FOR_PLACE;
    svg.append(shape('text', {x: x(at), y: height - bottom + 15, 'text-anchor': 'middle'}, placeFormat(at)));
  }
  svg.append(shape('text', {x: (left + width - right) / 2, y: height - 4, 'text-anchor': 'middle'}, placeName));
  for (const name of names) {
    const line = solved.filter(row => seriesName(row) === name).sort((a, b) => place(a) - place(b));
    if (joins) {
      svg.append(shape('polyline', {class: 'incumbent', style: `stroke: ${colour(name)}`,
                                    points: line.map(row => `${x(place(row))},${y(value(row))}`).join(' ')}));
    }
    for (const row of line) {
      svg.append(shape('circle', {cx: x(place(row)), cy: y(value(row)), r: 3.5, style: `fill: ${colour(name)}`},
        shape('title', {}, `${name}, ${formatCount(row.devices)} ${deviceName(row)}, batch ${formatCount(row.global_batch)} × ${formatCount(row.sequence)}: ${format(value(row))} (${row.strategy})`)));
    }
  }
  return element('section', {class: 'panel'}, element('h2', {}, title), svg);
}

/// Points that no other beats in both time per token and cost.
function front() {
  const speed = row => 1e6 / row.tokens_per_s;
  const best = solved.filter(row => !solved.some(other => other !== row && other.cost <= row.cost && speed(other) <= speed(row)
    && (other.cost < row.cost || speed(other) < speed(row))));
  best.sort((a, b) => speed(a) - speed(b));
  const panel = chart(`${COST}, over the time that they take`, row => row.cost, value => significant(value), speed, 'seconds per million tokens',
                      value => significant(value), false);
  const list = best.slice(0, 6).map(row => `${formatCount(row.devices)} ${deviceName(row)}, batch ${formatCount(row.global_batch)} × ${formatCount(row.sequence)}`);
  panel.append(element('p', {class: 'caption'}, `No point is both faster and cheaper than: ${list.join(' · ')}${best.length > 6 ? ' · …' : ''}`));
  return panel;
}

function showTable() {
  const headings = ['<device', 'devices', 'batch', 'sequence', 'step', 'tokens/s/device', 'MFU', 'memory', COST.toLowerCase(), '<profile', '<strategy'];
  const cells = row => [row.device, formatCount(row.devices), formatCount(row.global_batch), formatCount(row.sequence),
    ...(row.failure === undefined
      ? [formatTime(row.step_ns), significant(row.tokens_per_s / row.devices), formatPercent(row.mfu), formatBytes(row.memory_bytes), significant(row.cost), row.profile, row.strategy]
      : ['-', '-', '-', '-', '-', row.profile, row.failure])];
  const mark = heading => heading.startsWith('<') ? {class: 'text'} : {};
  byId('points').append(element('div', {class: 'scroll'}, element('table', {},
    element('thead', {}, element('tr', {}, ...headings.map(heading => element('th', {scope: 'col', ...mark(heading)}, heading.replace('<', ''))))),
    element('tbody', {}, ...rows.map(row => element('tr', {}, ...cells(row).map((cell, i) => element('td', mark(headings[i]), cell))))))));
}

byId('subject').textContent = source.title;
document.title = `${source.title} · opweave`;
byId('summary').textContent = [`${plural(rows.length, 'point')} of ${formatCount(source.points)}`,
  `${formatCount(rows.length - solved.length)} without a strategy`].join(' · ');
if (names.length > 1) {
  byId('legend').append(...names.map(name => {
    const swatch = element('i');
    swatch.style.background = colour(name);
    return element('span', {}, swatch, name);
  }));
}
if (solved.length > 0) {
  drawForWindow(() => byId('charts').replaceChildren(
    ...MEASURES.map(([title, value, format]) => chart(title, value, format, row => row[axis[0]], axis[1], formatCount)), front()));
}
showTable();
connectTheme();
window.opweave = {source, firstDrawn: performance.now()};
