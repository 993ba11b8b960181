// Start: figures first, then the picture; sizes follow the window.

function measureGutter() {
  const context = canvases.cells.getContext('2d');
  context.font = `600 ${FONT}`;
  const names = devices.map(device => context.measureText(device.name).width);
  context.font = FONT;
  const labels = [...streams, `peak ${'0'.repeat(5)} GiB`, 'devices busy'].map(text => context.measureText(text).width);
  const streamWidth = context.measureText(streams[0]).width;
  const widest = Math.max(names.reduce((most, width) => Math.max(most, width), 0) + streamWidth + 20, Math.max(...labels) + 14);
  return Math.ceil(Math.min(200, widest));
}

function resize() {
  layOutRows();
  byId('spacer').style.height = `${view.rowsHeight}px`;
  const limit = parseFloat(getComputedStyle(lanesBox).maxHeight);
  view.height = Math.ceil(Math.min(view.rowsHeight, limit));
  lanesBox.style.height = `${view.height}px`;
  view.width = lanesBox.clientWidth - view.gutter;
  canvases.axis.style.width = `${lanesBox.clientWidth}px`;
  drawLegend();
  drawBeside();
  redraw();
}

function start() {
  showHeader();
  showFigures();
  showComparison();
  showProgress();
  showBounds();
  showProvenance();
  showDevices();
  showIdle();
  showPath();
  connectControls();
  let theme = 'auto';
  try { theme = localStorage.getItem('opweave-theme') ?? 'auto'; } catch { /* as in setTheme */ }
  if (THEMES.includes(theme)) setTheme(theme);
  view.gutter = measureGutter();
  chooseDensity(parseFloat(getComputedStyle(lanesBox).maxHeight));
  resize();
  new ResizeObserver(resize).observe(document.body);
  requestAnimationFrame(() => requestAnimationFrame(() => { page.firstDrawn = performance.now(); }));
}

/// For scripts and tests: the plan as read, what is visible, and the milliseconds until the first picture.
const page = {source, criticalPath, tasks, transfers, devices, view, search, firstDrawn: null, timeToX, drawAll};
window.opweave = page;
start();
