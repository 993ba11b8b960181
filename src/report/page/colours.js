// What operators are coloured by, and the colours of the current theme.

const MOST_KINDS = 12;   // kinds with a colour of their own; the rest is grey
const MOST_LEGEND = 16;  // entries of the legend

/// A way to colour: for each operator the index of its group, for each group its name and colour.
const groupings = {phase: groupByPhase(), stage: groupByStage(), kind: groupByKind()};

function groupByPhase() {
  return {
    groupOf: Int32Array.from(operators.phase),
    groups: PHASES.map(({letter, name, colour}) => ({name: letter ? `${letter} ${name}` : name, colour: `var(${colour})`})),
  };
}

function groupByStage() {
  // Around the colour wheel once; lightness alternates so that neighbours differ.
  const groups = Array.from({length: stageCount}, (_, stage) => ({
    name: `stage ${stage}`, colour: `oklch(${stage % 2 ? 0.66 : 0.76} 0.12 ${(250 + 330 * stage / stageCount).toFixed(1)})`}));
  groups.push({name: 'no stage', colour: 'var(--phase-none)'});
  return {groupOf: Int32Array.from(operators.stage, stage => stage >= 0 ? stage : stageCount), groups};
}

/// The kinds that take most time get colours; steps by the golden angle keep neighbours apart.
function groupByKind() {
  const time = new Map();
  for (let task = 0; task < tasks.count; task++) {
    const kind = operators.kind[tasks.op[task]];
    if (kind >= 0) time.set(kind, (time.get(kind) ?? 0) + tasks.end[task] - tasks.start[task]);
  }
  const kinds = [...time.keys()].sort((a, b) => time.get(b) - time.get(a)).slice(0, MOST_KINDS);
  const groups = kinds.map((kind, index) => ({
    name: source.words[kind], colour: `oklch(${index % 2 ? 0.66 : 0.76} 0.12 ${((250 + 137.5 * index) % 360).toFixed(1)})`}));
  groups.push({name: 'other', colour: 'var(--phase-none)'});
  const rank = new Map(kinds.map((kind, index) => [kind, index]));
  return {groupOf: Int32Array.from(operators.kind, kind => rank.get(kind) ?? kinds.length), groups};
}

/// Groupings that tell anything apart, the most telling first.
const usefulGroupings = Object.keys(groupings).filter(name => new Set(groupings[name].groupOf).size > 1);

const probe = document.body.appendChild(element('span', {hidden: ''}));
const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const ink = {};         // colours by their name in style.css
let palette = [];       // {fill, text} by group of the current grouping
let phasePalette = [];  // fills by phase, for the overview
let idlePalette = [];   // fills by cause of idle time

function resolve(colour) {
  probe.style.color = colour;
  return getComputedStyle(probe).color;
}

/// Black or white, whichever reads better on the colour.
function textOn(fill) {
  pixel.fillStyle = fill;
  pixel.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pixel.getImageData(0, 0, 1, 1).data;
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? '#10151c' : '#ffffff';
}

function loadColours() {
  for (const name of ['panel', 'line', 'track', 'text', 'muted', 'accent', 'bad', 'memory', 'transfer', 'path']) {
    ink[name] = resolve(`var(--${name})`);
  }
  palette = groupings[view.colourBy].groups.map(({colour}) => {
    const fill = resolve(colour);
    return {fill, text: textOn(fill)};
  });
  idlePalette = explanation.causes.map(cause => resolve(`var(--idle-${cause})`));
  phasePalette = groupings.phase.groups.map(({colour}) => resolve(colour));
}

const colourIndex = task => groupings[view.colourBy].groupOf[tasks.op[task]];

/// Names and fills of the groups that occur; of many, every so-manyth.
function legendEntries() {
  const {groupOf, groups} = groupings[view.colourBy];
  const used = [...new Set(groupOf)].sort((a, b) => a - b);
  const step = Math.ceil(used.length / MOST_LEGEND);
  return used.filter((_, i) => i % step === 0).map(group => ({name: groups[group].name, fill: palette[group].fill}));
}
