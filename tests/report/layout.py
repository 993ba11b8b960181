"""Whether a page has room for what it shows, on a telephone and on a desk, in light and in dark."""

import time

# Width and height of a window, and what the system asks for.
LOOKS = tuple((*window, scheme) for window in ((390, 844), (1440, 900)) for scheme in ("light", "dark"))
SECONDS_TO_FOLLOW = 5  # scripts of a page may follow a new size later than the browser

# Elements that stand out of their parent or of the window, texts that are cut off without a sign of it, and words of a
# drawing too small or too large to be read. What a reader can scroll to is no fault.
FAULTS = """(ignored => {
  const faults = [];
  const name = e => `${e.tagName.toLowerCase()}${e.id ? '#' + e.id : ''}${[...e.classList].map(c => '.' + c).join('')}`;
  for (const e of document.body.querySelectorAll('*')) {
    if (!(e instanceof HTMLElement) || (ignored && e.closest(ignored))) continue;
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (style.visibility === 'hidden' || box.width === 0 || box.height === 0) continue;
    const isCut = ['hidden', 'clip'].includes(style.overflowX) && style.textOverflow !== 'ellipsis'
                  && e.scrollWidth > e.clientWidth + 1;
    if (isCut) faults.push(`${name(e)} is cut off: ${e.scrollWidth} in ${e.clientWidth} pixels`);
    if (['absolute', 'fixed'].includes(style.position)) continue;
    const parent = e.parentElement, room = parent === document.body ? {left: 0, right: innerWidth} : parent.getBoundingClientRect();
    const shows = parent === document.body || getComputedStyle(parent).overflowX === 'visible';
    // A negative margin is meant, and the padding of words hangs over the edge where a line breaks.
    const over = (margin, padding) => 1 + Math.max(0, -parseFloat(margin)) + (style.display === 'inline' ? parseFloat(padding) : 0);
    if (shows && (box.right > room.right + over(style.marginRight, style.paddingRight)
                  || box.left < room.left - over(style.marginLeft, style.paddingLeft))) {
      faults.push(`${name(e)} stands out of ${name(parent)}: ${box.left} to ${box.right} in ${room.left} to ${room.right}`);
    }
  }
  // Words in drawings are scaled with them.
  for (const text of document.querySelectorAll('svg text')) {
    const box = text.getBoundingClientRect(), room = text.ownerSVGElement.getBoundingClientRect();
    if (box.left < room.left - 1 || box.right > room.right + 1) faults.push(`"${text.textContent}" is cut off by its drawing`);
    if (box.height < 10 || box.height > 25) faults.push(`"${text.textContent}" is ${box.height} pixels high`);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} pixels wide`);
  return faults;
})"""
SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


def expect_room(browser, pictures=None, ignored=None, looks=LOOKS):
    """Of the page that is open. Pictures are written to PATH-WIDTH-SCHEME.png; `ignored` is a selector."""
    faults = f"{FAULTS}({repr(ignored) if ignored else 'null'})"
    for width, height, scheme in looks:
        browser.resize(width, height)
        browser.prefer(scheme)
        browser.evaluate(SETTLED)
        deadline = time.monotonic() + SECONDS_TO_FOLLOW
        while (found := browser.evaluate(faults)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not found, f"{width} x {height}, {scheme}: " + "\n".join(found[:10])
        if pictures:
            browser.screenshot(f"{pictures}-{width}-{scheme}.png")
