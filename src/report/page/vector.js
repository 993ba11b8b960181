// A canvas context that writes SVG: as much of it as the pictures here use.

/// Control characters, which XML does not allow at all, become the replacement character.
const escapeMarkup = text => text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '\ufffd').replace(/[&<>"]/g, letter => ({'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'})[letter]);
const short = value => String(Math.round(value * 100) / 100);

class SvgContext {
  constructor(width, height) {
    this.canvas = {width, height};
    Object.assign(this, {fillStyle: '#000', strokeStyle: '#000', globalAlpha: 1, lineWidth: 1, lineJoin: 'miter',
                         font: FONT, textAlign: 'left', textBaseline: 'alphabetic'});
    this.parts = [];
    this.path = [];
    this.dash = [];
    this.stack = [];
    this.open = 0;      // groups since the last save
    this.clips = 0;
    this.colours = new Map();
    this.ruler = document.createElement('canvas').getContext('2d');
  }

  /// Colours of the page may be oklch(), which few readers of SVG know.
  colour(style) {
    if (!this.colours.has(style)) {
      pixel.clearRect(0, 0, 1, 1);
      pixel.fillStyle = style;
      pixel.fillRect(0, 0, 1, 1);
      const [red, green, blue] = pixel.getImageData(0, 0, 1, 1).data;
      this.colours.set(style, `#${[red, green, blue].map(value => value.toString(16).padStart(2, '0')).join('')}`);
    }
    return this.colours.get(style);
  }
  opacity(name) { return this.globalAlpha < 1 ? ` ${name}="${short(this.globalAlpha)}"` : ''; }

  fillRect(x, y, width, height) {
    this.parts.push(`<rect x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" ` +
                    `fill="${this.colour(this.fillStyle)}"${this.opacity('fill-opacity')}/>`);
  }
  fillText(text, x, y) {
    const anchor = {left: '', right: ' text-anchor="end"', center: ' text-anchor="middle"'}[this.textAlign];
    const baseline = this.textBaseline === 'middle' ? ' dominant-baseline="central"' : '';
    this.parts.push(`<text x="${short(x)}" y="${short(y)}" style="font: ${escapeMarkup(this.font).replaceAll('&quot;', "'")}" ` +
                    `fill="${this.colour(this.fillStyle)}"${anchor}${baseline}${this.opacity('fill-opacity')}>${escapeMarkup(text)}</text>`);
  }
  measureText(text) {
    this.ruler.font = this.font;
    return this.ruler.measureText(text);
  }

  beginPath() { this.path = []; }
  moveTo(x, y) { this.path.push(`M${short(x)},${short(y)}`); }
  lineTo(x, y) { this.path.push(`${this.path.length ? 'L' : 'M'}${short(x)},${short(y)}`); }
  bezierCurveTo(...points) { this.path.push(`C${points.map(short).join(' ')}`); }
  rect(x, y, width, height) { this.path.push(`M${short(x)},${short(y)}h${short(width)}v${short(height)}h${short(-width)}z`); }
  /// Whole circles only.
  arc(x, y, radius) {
    const r = short(radius), d = short(2 * radius);
    this.path.push(`M${short(x - radius)},${short(y)}a${r},${r} 0 1 0 ${d},0a${r},${r} 0 1 0 -${d},0`);
  }
  setLineDash(dash) { this.dash = dash; }
  stroke() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(' ')}"` : '';
    this.parts.push(`<path d="${this.path.join('')}" fill="none" stroke="${this.colour(this.strokeStyle)}" stroke-width="${this.lineWidth}" ` +
                    `stroke-linejoin="${this.lineJoin}"${dash}${this.opacity('stroke-opacity')}/>`);
  }
  fill() {
    this.parts.push(`<path d="${this.path.join('')}" fill="${this.colour(this.fillStyle)}"${this.opacity('fill-opacity')}/>`);
  }

  save() {
    this.stack.push(this.open);
    this.open = 0;
  }
  restore() {
    this.parts.push('</g>'.repeat(this.open));
    this.open = this.stack.pop();
  }
  clip() {
    const id = `clip${this.clips++}`;
    this.parts.push(`<clipPath id="${id}"><path d="${this.path.join('')}"/></clipPath><g clip-path="url(#${id})">`);
    this.open++;
  }
  translate(x, y) {
    this.parts.push(`<g transform="translate(${short(x)} ${short(y)})">`);
    this.open++;
  }

  text() {
    const {width, height} = this.canvas;
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${short(width)}" height="${short(height)}" ` +
      `viewBox="0 0 ${short(width)} ${short(height)}">\n${this.parts.join('\n')}${'</g>'.repeat(this.open)}\n</svg>\n`;
  }
}
