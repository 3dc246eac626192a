// The lines of a graph as upright and level pieces. Lines that run one over another are
// one piece, and a piece is a rectangle: that is what makes a graph of 47,500
// dependencies cheap to draw.

interface Line { from: number; to: number; points: number[] }

// alongPath are the lines of a path of boxes, of which there are n; what is beyond is a
// junction.
export function alongPath(lines: Line[], n: number, path: number[]): Set<number> {
  const from = new Map<number, number[]>()
  lines.forEach((l, i) => from.get(l.from)?.push(i) ?? from.set(l.from, [i]))
  const out = new Set<number>()
  for (let k = 1; k < path.length; k++) {
    for (const i of from.get(path[k - 1]) ?? []) {
      const on = lines[i].to < n ? i : (from.get(lines[i].to) ?? []).find((j) => lines[j].to === path[k])
      if (on === undefined || lines[on].to !== path[k]) continue
      out.add(i).add(on)
      break
    }
  }
  return out
}

// between are the lines from one of some boxes to another one of them.
export function between(lines: Line[], n: number, boxes: Set<number>): Set<number> {
  const [entered, left] = [new Set<number>(), new Set<number>()] // junctions
  for (const l of lines) {
    if (l.to >= n && boxes.has(l.from)) entered.add(l.to)
    if (l.from >= n && boxes.has(l.to)) left.add(l.from)
  }
  const has = (i: number) => (i < n ? boxes.has(i) : entered.has(i) && left.has(i))
  return new Set(lines.flatMap((l, i) => (has(l.from) && has(l.to) ? [i] : [])))
}

interface Piece { x0: number; y0: number; x1: number; y1: number }
interface Corner { x: number; y: number; fromX: number; fromY: number; toX: number; toY: number; radius: number }

const radius = 7

export class Lines {
  private sharp: Piece[] = []
  private round: Piece[] = []
  private corners: Corner[] = []

  constructor(lines: { points: number[] }[]) {
    const sharp = new Union()
    const round = new Union()
    for (const { points: p } of lines) {
      let cut = 0 // how much of the next piece the corner before it takes
      for (let i = 2; i < p.length; i += 2) {
        const [x0, y0, x1, y1] = [p[i - 2], p[i - 1], p[i], p[i + 1]]
        sharp.add(x0, y0, x1, y1)
        const length = Math.hypot(x1 - x0, y1 - y0)
        let r = 0
        if (i + 3 < p.length) {
          r = Math.min(radius, length / 2, Math.hypot(p[i + 2] - x1, p[i + 3] - y1) / 2)
          if (r > 0) this.corners.push({ x: x1, y: y1, fromX: x1 - ((x1 - x0) / length) * r, fromY: y1 - ((y1 - y0) / length) * r, toX: p[i + 2], toY: p[i + 3], radius: r })
        }
        if (length > 0) {
          const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length]
          round.add(x0 + ux * cut, y0 + uy * cut, x1 - ux * r, y1 - uy * r)
        }
        cut = r
      }
    }
    this.sharp = sharp.pieces()
    this.round = round.pieces()
  }

  // draw draws what touches a part of the graph. The transformation of the context is
  // the graph's; scale is that of a pixel of the screen, width that of a line on it.
  draw(c: CanvasRenderingContext2D, part: Piece, scale: number, width: number, rounded: boolean) {
    const w = Math.max(1, Math.round(width)) / scale
    const m = w / 2 + radius
    const seen = (x0: number, y0: number, x1: number, y1: number) => x1 > part.x0 - m && x0 < part.x1 + m && y1 > part.y0 - m && y0 < part.y1 + m
    for (const p of rounded ? this.round : this.sharp) {
      if (!seen(p.x0, p.y0, p.x1, p.y1)) continue
      // What is beyond the part is not drawn: long rectangles cost by their length.
      const [x0, x1] = [Math.max(p.x0, part.x0 - m), Math.min(p.x1, part.x1 + m)]
      const [y0, y1] = [Math.max(p.y0, part.y0 - m), Math.min(p.y1, part.y1 + m)]
      if (p.y0 === p.y1) c.fillRect(x0, p.y0 - w / 2, x1 - x0, w)
      else c.fillRect(p.x0 - w / 2, y0, w, y1 - y0)
    }
    if (!rounded) return
    c.lineWidth = w
    c.beginPath()
    for (const k of this.corners) {
      if (!seen(k.x, k.y, k.x, k.y)) continue
      c.moveTo(k.fromX, k.fromY)
      c.arcTo(k.x, k.y, k.toX, k.toY, k.radius)
    }
    c.stroke()
  }
}

// Union joins pieces of the same row or column that touch.
class Union {
  private rows = new Map<number, [number, number][]>()
  private columns = new Map<number, [number, number][]>()

  add(x0: number, y0: number, x1: number, y1: number) {
    const level = Math.abs(y1 - y0) < 0.01
    const [into, at, a, b] = level ? [this.rows, y0, x0, x1] : [this.columns, x0, y0, y1]
    if (Math.abs(b - a) < 0.01) return
    const list = into.get(at)
    const piece: [number, number] = a < b ? [a, b] : [b, a]
    if (list) list.push(piece)
    else into.set(at, [piece])
  }

  pieces(): Piece[] {
    const out: Piece[] = []
    const join = (map: Map<number, [number, number][]>, put: (at: number, a: number, b: number) => void) => {
      for (const [at, list] of map) {
        list.sort((p, q) => p[0] - q[0])
        let [a, b] = list[0]
        for (const [from, to] of list) {
          if (from > b + 0.01) {
            put(at, a, b)
            a = from
          }
          b = Math.max(b, to)
        }
        put(at, a, b)
      }
    }
    join(this.rows, (y, a, b) => out.push({ x0: a, y0: y, x1: b, y1: y }))
    join(this.columns, (x, a, b) => out.push({ x0: x, y0: a, x1: x, y1: b }))
    return out
  }
}
