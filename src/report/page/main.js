// Start: figures first, then the picture; sizes follow the window.

const WIDE_GUTTER = 200;  // pixels from which on the common beginning of names is left out

/// Room for whole names beside the picture. Chooses what is left out of all of them.
function measureGutter() {
  const context = canvases.cells.getContext('2d');
  const widthOfNames = () => {
    context.font = `600 ${FONT}`;
    return devices.reduce((most, device) => Math.max(most, context.measureText(device.label).width), 0);
  };
  let names = widthOfNames();
  context.font = FONT;
  const labels = [...streams, `peak ${'0'.repeat(5)} GiB`, 'devices busy'].map(text => context.measureText(text).width);
  const streamWidth = context.measureText(streams[0]).width;
  if (names + streamWidth + 20 > WIDE_GUTTER) {
    leaveOutCommonPart();
    names = widthOfNames();
  }
  return Math.ceil(Math.max(names + streamWidth + 20, Math.max(...labels) + 14));
}

function resize() {
  layOutRows();
  byId('spacer').style.height = `${view.rowsHeight}px`;
  const limit = parseFloat(getComputedStyle(lanesBox).maxHeight);
  view.height = Math.ceil(Math.min(view.rowsHeight, limit));
  lanesBox.style.height = `${view.height}px`;
  view.width = Math.max(1, lanesBox.clientWidth - view.gutter);  // no window is too narrow to be drawn
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
const page = {source, criticalPath, tasks, transfers, devices, view, search, firstDrawn: null, timeToX, drawAll, lastParts, memoryParts};
window.opweave = page;
start();
