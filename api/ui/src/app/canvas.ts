// Texts on a canvas.

// widths remembers what was measured: measuring is most of the cost of a text.
const widths = new Map<string, string>()

// cut shortens a text so that it fits into a width.
export function cut(c: CanvasRenderingContext2D, text: string, room: number): string {
  const key = `${c.font} ${room} ${text}`
  let fits = widths.get(key)
  if (fits === undefined) {
    let n = text.length
    fits = text
    while (n > 1 && c.measureText(fits).width > room) fits = text.slice(0, --n) + '…'
    if (widths.size > 5000) widths.clear()
    widths.set(key, fits)
  }
  return fits
}
