// Numbers as text. Short forms have four significant digits, exact forms have all of them.

const TIME_UNITS = [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']];
const BYTE_UNITS = [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB'], [1, 'B']];

function unitFor(value, units) {
  return units.find(([size]) => Math.abs(value) >= size) ?? units[units.length - 1];
}

function significant(value) {
  if (value === 0) return '0';
  const decimals = Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toLocaleString('en', {maximumFractionDigits: decimals});
}

function formatIn(value, units) {
  const [size, unit] = unitFor(value, units);
  return `${significant(value / size)} ${unit}`;
}

const formatTime = ns => ns === 0 ? '0' : formatIn(ns, TIME_UNITS);
const formatBytes = bytes => formatIn(bytes, BYTE_UNITS);
const formatCount = count => count.toLocaleString('en');
const formatPercent = share => `${(100 * share).toLocaleString('en', {maximumFractionDigits: share < 0.1 ? 2 : 1})} %`;

/// All nanoseconds of a time, in the unit that suits `scale`: "1.234567 ms".
function exactTime(ns, scale = ns) {
  const [size, unit] = unitFor(scale, TIME_UNITS);
  return `${trimZeros((ns / size).toFixed(Math.log10(size)))} ${unit}`;
}

function exactBytes(bytes) {
  return bytes < 1024 ? formatBytes(bytes) : `${formatBytes(bytes)} (${formatCount(bytes)} B)`;
}

function trimZeros(text) {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

function plural(count, noun) {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/// Round values of a unit between two, about `most` of them, at distances of 1, 2 or 5.
function roundTicks(low, high, unit = 1, most = 5) {
  const rough = (high - low) / unit / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough * (1 - 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({length: Math.floor(high / step + 1e-9) - first + 1}, (_, i) => (first + i) * step);
}

/// 1, 2 and 5 times the powers of ten between two positive values; the powers alone where these are many.
function logarithmicTicks(low, high) {
  const factors = high / low < 300 ? [1, 2, 5] : [1];
  const powers = Array.from({length: Math.ceil(Math.log10(high / low)) + 2}, (_, i) => 10 ** (Math.floor(Math.log10(low)) + i));
  return powers.flatMap(power => factors.map(factor => factor * power)).filter(tick => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
}

/// Letters of a drawing that a narrow window makes smaller could not be read: there it is drawn smaller itself.
const narrow = window.matchMedia('(max-width: 600px)');

/// Draws now, and again whenever the window becomes narrow or wide.
function drawForWindow(draw) {
  narrow.addEventListener('change', draw);
  draw();
}

/// A DOM element. Text always goes in as text, so no name can become markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
