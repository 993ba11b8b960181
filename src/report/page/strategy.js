// The page of a strategy: what is chosen, where memory and time go, where layers and ranks lie, what others lose.

const source = JSON.parse(document.getElementById('data').textContent);
const strategies = source.strategies;
let shown = 0;  // index of the strategy that memory, layers and mesh are drawn for

const MEMORY = [
  ['weights', 'weights', '--phase-f'], ['gradients', 'gradients', '--phase-i'], ['optimizer', 'optimizer state', '--phase-o'],
  ['activations', 'activations', '--phase-b'], ['buffers', 'buffers', '--phase-w'], ['reserve', 'reserve', '--phase-none']];
const TIME = [
  ['matrix', 'matrix products', '--phase-f'], ['attention', 'attention', '--phase-i'], ['traffic', 'memory traffic', '--phase-w'],
  ['recompute', 'made again', '--phase-b'], ['offload', 'copies to the host', '--idle-held'],
  ['tensor', 'tensor and context axes', '--idle-transfer'],
  ['expert', 'expert axis', '--idle-stream'], ['data', 'data axis', '--idle-input'], ['hops', 'between stages', '--idle-memory'],
  ['bubble', 'bubble', '--idle-ramp-up'], ['optimizer', 'optimizer', '--phase-o']];
const AXES = [['tensor', 'TP', 'heads and columns'], ['context', 'CP', 'tokens of a sequence'],
              ['data', 'DP', 'sequences of a batch'], ['pipeline', 'PP', 'layers']];
const MOST_NODES = 4;    // drawn of the mesh
const MOST_DEVICES = 16;  // drawn of a node
const MOST_STAGES = 24;  // rows of the memory panel; of more every so-manyth and the fullest

function label({strategy}) {
  const parts = AXES.filter(([key]) => strategy[key] > 1).map(([key, short]) => `${short}${strategy[key]}`);
  if (strategy.expert > 1) parts.push(`EP${strategy.expert}`);
  if (strategy.chunks > 1) parts.push(`VPP${strategy.chunks}`);
  const own = meshesOf(strategy).filter(mesh => mesh.name).map(({name, degrees}) =>
    ` · ${name} ${AXES.filter(([key]) => degrees[key] > 1).map(([key, short]) => `${short}${degrees[key]}`).join(' ') || 'one device'}`);
  return `${parts.join(' ') || 'one device'} · mbs ${strategy.micro_batch}${own.join('')}`;
}

/// Meshes in the order of their ranks: those of components, and that of all other layers.
function meshesOf(strategy) {
  const own = (strategy.components ?? []).map(degrees => ({name: degrees.name, degrees}));
  let first = 0;
  let stage = 0;
  return [...own, {name: '', degrees: strategy}].map(mesh => {
    const ranks = AXES.reduce((product, [key]) => product * mesh.degrees[key], 1);
    const placed = {...mesh, first, stage, ranks};
    first += ranks;
    stage += mesh.degrees.pipeline;
    return placed;
  });
}

const stageCount = strategy => meshesOf(strategy).reduce((sum, {degrees}) => sum + degrees.pipeline, 0);

function recomputation(strategy) {
  const byStage = strategy.recomputed_per_stage;
  const layers = byStage ? `${Math.min(...byStage)} to ${Math.max(...byStage)} layers per stage`
    : strategy.recomputed_layers === undefined ? 'all layers' : `${plural(strategy.recomputed_layers, 'layer')} per stage`;
  const modules = strategy.modules_per_stage ? 'modules by stage' : (strategy.recomputed_modules ?? []).join(', ');
  const parts = [strategy.recompute === 'full' ? layers : '', modules].filter(part => part);
  return parts.length ? `${parts.join(' and ')} made again` : 'nothing made again';
}

function onHost(strategy) {
  const most = Math.max(strategy.activation_offload ?? 0, ...(strategy.offload_per_stage ?? []));
  return [[most, strategy.offload_per_stage ? 'at most % of activations' : '% of activations'],
          [strategy.optimizer_offload ?? 0, '% of the optimizer']]
    .filter(([share]) => share > 0).map(([share, text]) => `${text.replace('%', formatPercent(share))} on the host`);
}

function describe({strategy}) {
  const recomputed = recomputation(strategy);
  return [stageCount(strategy) > 1 ? strategy.schedule : 'no pipeline',
          {none: 'nothing shared out', optimizer: 'optimizer states shared out', gradients: 'states and gradients shared out',
           weights: 'states, gradients and weights shared out'}[strategy.sharding], recomputed,
          ...onHost(strategy)].join(' · ');
}

function legend(kinds) {
  return kinds.map(([, name, colour]) => {
    const swatch = element('i');
    swatch.style.background = `var(${colour})`;
    return element('span', {}, swatch, name);
  });
}

/// Parts of a whole one after the other; `scale` is what the full width stands for, `limit` a red line.
function stack(kinds, values, scale, format, limit = null) {
  const track = element('div', {class: 'stack wide', role: 'img', 'aria-label':
    kinds.filter(([key]) => values[key] > 0).map(([key, name]) => `${name} ${format(values[key])}`).join(', ')});
  for (const [key, name, colour] of kinds) {
    if (!(values[key] > 0)) continue;
    const part = element('i', {title: `${name}: ${format(values[key])}`});
    part.style.width = `${100 * values[key] / scale}%`;
    part.style.background = `var(${colour})`;
    track.append(part);
  }
  if (limit !== null) {
    const line = element('s');
    line.style.left = `calc(${100 * limit / scale}% - 2px)`;
    track.append(line);
  }
  return track;
}

const row = (name, bar, value, attributes = {}) =>
  element('div', {class: 'bar-row', ...attributes}, element('span', {class: 'name'}, name), bar, element('span', {class: 'value'}, value));

/// Every so-manyth index, first and last among them.
function sample(count, most) {
  if (count <= most) return Array.from({length: count}, (_, i) => i);
  return Array.from({length: most}, (_, i) => Math.round(i * (count - 1) / (most - 1)));
}

function showMemory() {
  const {stages} = strategies[shown];
  const limit = source.machines.memory_bytes;
  const scale = Math.max(limit, ...stages.map(stage => stage.memory_bytes.total)) * 1.02;
  const fullest = strategies[shown].memory_bytes.stage;
  const drawn = [...new Set([...sample(stages.length, MOST_STAGES), fullest])].sort((a, b) => a - b);
  const rows = drawn.map(i =>
    row(stages.length === 1 ? 'all' : `stage ${i}`, stack(MEMORY, stages[i].memory_bytes, scale, formatBytes, limit),
        formatBytes(stages[i].memory_bytes.total)));
  byId('memory').replaceChildren(...rows);
  byId('memory-note').textContent = `Red line: ${formatBytes(limit)} of ${source.machines.device}.`
    + (stages.length > MOST_STAGES ? ` ${drawn.length} of ${stages.length} stages, the fullest among them.` : '');
}

function showTime() {
  const scale = Math.max(...strategies.map(one => one.step_ns));
  byId('time').replaceChildren(...strategies.map((one, i) =>
    row(label(one), stack(TIME, one.time_ns, scale, formatTime), formatTime(one.step_ns),
        {class: `bar-row choice${i === shown ? ' shown' : ''}`, role: 'button', tabindex: '0', 'data-strategy': String(i),
         'aria-pressed': String(i === shown)})));
}

/// The pipeline rank of each layer: stages as given, chunks one after the other round the ranks.
function ranksOfLayers({strategy, stages}) {
  const total = source.model.layers.reduce((sum, run) => sum + run.count, 0);
  const ranks = [];
  if (strategy.chunks > 1) {
    const parts = strategy.pipeline * strategy.chunks;
    for (let layer = 0; layer < total; layer++) ranks.push(Math.floor(layer * parts / total) % strategy.pipeline);
    return ranks;
  }
  stages.forEach((stage, rank) => {
    const count = Math.round(stage.layers.reduce((sum, part) => sum + part.count, 0));
    for (let i = 0; i < count; i++) ranks.push(rank);
  });
  return ranks;
}

const stageColour = (rank, count) => `oklch(${rank % 2 ? 0.66 : 0.76} 0.12 ${(250 + 330 * rank / count).toFixed(1)})`;

function runName(run) {
  const kind = run.experts > 0 ? `${run.experts} experts` : 'dense';
  return [run.component, kind, run.window === null ? '' : `window ${formatCount(run.window)}`,
          run.predicts_ahead ? 'predicts ahead' : ''].filter(Boolean).join(', ');
}

function showLayers() {
  const one = strategies[shown];
  const ranks = ranksOfLayers(one);
  const cells = element('div', {class: 'layers-map', role: 'img', 'aria-label': 'Layers in order, coloured by pipeline rank'});
  let layer = 0;
  for (const run of source.model.layers) {
    for (let i = 0; i < run.count; i++, layer++) {
      const rank = ranks[layer] ?? stageCount(one.strategy) - 1;
      const cell = element('i', {title: `layer ${layer} (${runName(run)}): pipeline rank ${rank}`}, String(rank));
      cell.style.background = stageColour(rank, stageCount(one.strategy));
      cells.append(cell);
    }
  }
  const runs = source.model.layers.slice(0, 6).map(run => `${run.count} × ${runName(run)}`).join(' · ');
  const held = one.stages.map(stage => stage.layers.reduce((sum, part) => sum + part.count, 0));
  const [least, most] = [Math.min(...held), Math.max(...held)].map(count => trimZeros(count.toFixed(1)));
  byId('layers').replaceChildren(cells, element('p', {class: 'caption'},
    `Number and colour: pipeline rank. ${runs}${source.model.layers.length > 6 ? ' · …' : ''}. `
    + `${least === most ? least : `${least} to ${most}`} layers per rank.`
    + (one.strategy.chunks > 1 ? ' Where chunks do not divide the layers, their borders are near these.' : '')));
}

function spans(stride, degree, perNode) {
  const reach = stride * degree;
  if (degree === 1) return '-';
  if (reach <= perNode) return 'within a node';
  const perRing = Math.max(1, Math.floor(perNode / stride));
  return `${formatCount(degree / Math.min(degree, perRing))} nodes`;
}

function axesOf({degrees}) {
  let stride = 1;
  return AXES.map(([key, short, what]) => {
    const axis = {short, what, degree: degrees[key], stride};
    stride *= degrees[key];
    return axis;
  });
}

function meshTable(mesh, strategy, perNode) {
  const rows = axesOf(mesh).map(axis => [axis.short, formatCount(axis.degree), axis.what, spans(axis.stride, axis.degree, perNode)]);
  const {tensor, context, data} = mesh.degrees;
  if (!mesh.name && strategy.expert > 1) {
    const ranks = tensor * context * data;
    const copies = ranks / strategy.expert / strategy.expert_tensor;
    rows.push(['EP', formatCount(strategy.expert), `experts, over the ${formatCount(ranks)} ranks of a stage: ${plural(copies, 'copy').replace('copys', 'copies')}`,
               spans(strategy.expert_tensor, strategy.expert, perNode)]);
  }
  return element('table', {class: 'mesh'}, ...rows.map(cells =>
    element('tr', {}, ...cells.map((cell, i) => element(i === 0 ? 'th' : 'td', i === 0 ? {scope: 'row'} : i === 1 ? {} : {class: 'text'}, cell)))));
}

function showMesh() {
  const {strategy} = strategies[shown];
  const perNode = source.machines.devices_per_node;
  const meshes = meshesOf(strategy);
  const tables = meshes.flatMap(mesh => [
    ...(meshes.length > 1 ? [element('p', {class: 'caption'}, `${mesh.name || 'all others'}: ${plural(mesh.ranks, 'rank')}`)] : []),
    meshTable(mesh, strategy, perNode)]);
  const drawn = Math.min(perNode, MOST_DEVICES);
  const meshOf = rank => meshes.find(mesh => rank < mesh.first + mesh.ranks) ?? meshes[meshes.length - 1];
  // Where all devices of a node have the same place on an axis, the node says it; not where it has two meshes.
  const isWhole = node => meshOf(node * perNode) === meshOf(node * perNode + perNode - 1);
  const isInside = (axis, node) => axis.degree > 1 && (axis.stride < perNode || !isWhole(node));
  // Pipeline ranks are counted over all meshes, as stages and layers are.
  const place = (axis, rank, mesh) => Math.floor((rank - mesh.first) / axis.stride) % axis.degree + (axis.short === 'PP' ? mesh.stage : 0);
  const at = (axis, rank, mesh) => `${axis.short[0].toLowerCase()}${place(axis, rank, mesh)}`;
  const nodes = sample(source.machines.nodes, MOST_NODES).map(node => {
    const begin = node * perNode;
    const devices = Array.from({length: drawn}, (_, device) => {
      const rank = begin + device;
      const mesh = meshOf(rank);
      const axes = axesOf(mesh);
      const name = mesh.name ? `${mesh.name} ` : '';
      const box = element('i', {title: `rank ${rank}: ${name}${axes.map(axis => at(axis, rank, mesh)).join(' ')}`},
                          axes.filter(axis => isInside(axis, node)).map(axis => at(axis, rank, mesh)).join(' ') || '0');
      box.style.background = stageColour(place(axes[3], rank, mesh), stageCount(strategy));
      return box;
    });
    const mesh = meshOf(begin);
    const outside = axesOf(mesh).filter(axis => axis.degree > 1 && !isInside(axis, node)).map(axis => at(axis, begin, mesh));
    const name = isWhole(node) && mesh.name ? [mesh.name] : [];
    return element('div', {class: 'node'}, element('span', {class: 'name'}, `node ${formatCount(node)} ${[...name, ...outside].join(' ')}`),
                   element('div', {class: 'devices'}, ...devices));
  });
  byId('mesh').replaceChildren(...tables, element('div', {class: 'nodes'}, ...nodes), element('p', {class: 'caption'},
    'Innermost first; colour: pipeline rank.'
    + (source.machines.nodes > MOST_NODES ? ` ${MOST_NODES} of ${formatCount(source.machines.nodes)} nodes.` : '')
    + (perNode > drawn ? ` ${drawn} of ${perNode} devices of each.` : '')));
}

/// What a strategy takes more than the best, cause by cause, the largest first.
function losses(one) {
  const best = strategies[0].time_ns;
  return TIME.map(([key, name]) => ({name, more: one.time_ns[key] - best[key]})).sort((a, b) => b.more - a.more);
}

function showRunners() {
  const best = strategies[0];
  const headings = ['<strategy', 'step', 'slower by', 'tokens/s/device', 'MFU', 'memory', '<loses', '<gains'];
  const devices = source.machines.nodes * source.machines.devices_per_node;
  const threshold = best.step_ns / 1000;
  const list = parts => parts.slice(0, 3).map(({name, more}) => `${name} ${more > 0 ? '+' : '−'}${formatTime(Math.abs(more))}`).join(', ') || '-';
  const rows = strategies.map((one, i) => {
    const parts = losses(one);
    return element('tr', i === 0 ? {class: 'best'} : {}, ...[
      `${label(one)} · ${describe(one)}`, formatTime(one.step_ns), i === 0 ? '-' : formatPercent(one.step_ns / best.step_ns - 1),
      formatCount(Math.round(one.tokens_per_s / devices)), formatPercent(one.mfu), formatBytes(one.memory_bytes.total),
      list(parts.filter(({more}) => more > threshold)), list(parts.filter(({more}) => more < -threshold).reverse())
    ].map((cell, column) => element('td', headings[column].startsWith('<') ? {class: 'text'} : {}, cell)));
  });
  byId('runners').replaceChildren(element('div', {class: 'scroll'}, element('table', {},
    element('thead', {}, element('tr', {}, ...headings.map(heading =>
      element('th', {scope: 'col', ...(heading.startsWith('<') ? {class: 'text'} : {})}, heading.replace('<', ''))))),
    element('tbody', {}, ...rows))));
}

function figure(name, value, note, tone = '') {
  return element('div', {class: 'figure'}, element('div', {class: 'label'}, name),
    element('div', {class: `value ${tone}`}, value), element('div', {class: 'note'}, note));
}

function showFigures() {
  const one = strategies[shown];
  const devices = source.machines.nodes * source.machines.devices_per_node;
  const time = one.time_ns;
  const exposed = time.tensor + time.expert + time.data + time.hops;
  const limit = source.machines.memory_bytes;
  const {profile} = source;
  const beyond = one.memory_bytes.host > 0 ? '; not of copies to the host' : '';
  byId('figures').replaceChildren(
    figure('Strategy', label(one).split(' · ')[0],
           [describe(one), `microbatch ${one.strategy.micro_batch}`, ...label(one).split(' · ').slice(2)].join(' · ')),
    figure('Step', formatTime(one.step_ns), `${formatCount(Math.round(one.tokens_per_s))} tokens/s`),
    figure('Prediction error', profile.steps === 0 ? 'unknown' : formatPercent(profile.median_error),
           profile.steps === 0 ? 'uncalibrated' : `median, ${plural(profile.steps, 'step')}; 90 %: ${formatPercent(profile.ninetieth_error)}${beyond}`),
    figure('Tokens/s/device', formatCount(Math.round(one.tokens_per_s / devices)), `MFU ${formatPercent(one.mfu)}`),
    figure('Memory', formatBytes(one.memory_bytes.total), `of ${formatBytes(limit)}${one.stages.length > 1 ? `, stage ${one.memory_bytes.stage}` : ''}`, one.fits ? 'good' : 'bad'),
    figure('Bubble', formatPercent(time.bubble / one.step_ns), time.bubble === 0 ? 'no time' : formatTime(time.bubble)),
    figure('Communication', formatPercent(exposed / one.step_ns), `${formatTime(exposed)} exposed`),
    figure('Made again', formatPercent(time.recompute / one.step_ns), time.recompute === 0 ? 'no time' : formatTime(time.recompute)));
}

function showHeader() {
  const {model, machines, run} = source;
  const devices = machines.nodes * machines.devices_per_node;
  const subject = `${model.name || 'model'} on ${formatCount(devices)} ${machines.device}`;
  byId('subject').textContent = subject;
  document.title = `${subject} · opweave`;
  byId('summary').textContent = [
    `${significant(model.parameters / 1e9)} billion parameters`,
    `batch ${formatCount(run.global_batch)} × ${formatCount(run.sequence)} tokens`, run.precision,
    `best of ${formatCount(source.meshes)} meshes${source.is_whole_space ? ', the whole space' : ', until the time limit'}`,
    `profile ${source.profile.name}`].join(' · ');
}

function choose(index) {
  shown = index;
  for (const show of [showFigures, showMemory, showTime, showLayers, showMesh]) show();
}

function connect() {
  const pick = event => {
    const chosen = event.target.closest('[data-strategy]');
    if (!chosen) return;
    choose(Number(chosen.dataset.strategy));
    byId('time').querySelector('.shown').focus();
  };
  byId('time').addEventListener('click', pick);
  byId('time').addEventListener('keydown', event => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    pick(event);
  });
}

showHeader();
byId('memory-legend').append(...legend(MEMORY));
byId('time-legend').append(...legend(TIME));
showRunners();
choose(0);
connect();
connectTheme();
window.opweave = {source, choose, firstDrawn: performance.now()};
