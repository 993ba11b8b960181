"""A report in a browser, with the questions that the checks ask."""

# Pixel of a canvas at a point of the window.
PIXEL = """((id, x, y) => {
  const canvas = document.getElementById(id), box = canvas.getBoundingClientRect();
  const context = document.createElement('canvas').getContext('2d');
  context.drawImage(canvas, Math.floor(x - box.left), Math.floor(y - box.top), 1, 1, 0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
})"""
# Resolved colour of a name in the style sheet, as a pixel.
COLOUR = """(name => {
  const span = document.body.appendChild(document.createElement('span'));
  span.style.color = `var(${name})`;
  const context = document.createElement('canvas').getContext('2d');
  context.fillStyle = getComputedStyle(span).color;
  context.fillRect(0, 0, 1, 1);
  span.remove();
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
})"""
# Where a task is drawn: middle of its part in the window, or null.
PLACE = """(task => {
  const {tasks, devices, view, timeToX, source} = window.opweave;
  const device = source.device_sets[tasks.devices[task]][0];
  const row = view.rows.find(r => r.kind === 'lane' && r.device.index === device && r.lane.tasks.includes(task));
  const box = document.getElementById('overlay').getBoundingClientRect();
  const y = row.y + row.height / 2 - document.getElementById('lanes').scrollTop;
  return {x: box.left + (timeToX(tasks.start[task]) + timeToX(tasks.end[task])) / 2, y: box.top + y,
          width: timeToX(tasks.end[task]) - timeToX(tasks.start[task]), inside: y > 0 && y < view.height};
})"""


class Reader:
    """A page under test, with the questions that the checks ask."""

    def __init__(self, browser, page, limit):
        self.browser = browser
        self.limit = limit
        browser.open(page)
        self.first_drawn = browser.wait_for("window.opweave?.firstDrawn")
        self.source = browser.evaluate("window.opweave.source")

    def __call__(self, expression):
        return self.browser.evaluate(expression)

    def text(self, element):
        return self(f"document.getElementById('{element}').textContent")

    def settle(self):
        """Waits until what was asked for is drawn."""
        self("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def range(self):
        self.settle()
        return tuple(self("[opweave.view.from, opweave.view.to]"))

    def lanes(self):
        return self(
            "(({left, top, width, height}) => ({left, top, width, height}))"
            "(document.getElementById('overlay').getBoundingClientRect())"
        )

    def selected_name(self):
        return self("document.querySelector('#selection b')?.textContent ?? null")

    def task_name(self, task):
        op, copy = self(f"[opweave.tasks.op[{task}], opweave.tasks.copy[{task}]]")
        settings = self.source["settings"]
        name = self.source["operators"]["name"][op]
        return f"{name}#{copy}" if settings["microbatches"] > 1 or settings["replicas"] > 1 else name
