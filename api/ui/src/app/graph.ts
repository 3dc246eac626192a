// The drawing of a run's graph on a canvas: the node laid it out, this shows how
// it stands. The list of modules is its form for keyboards and screen readers.
import type { Kind } from './icons'
import { colour } from './icons'

export interface Graph {
  modules: { name: string; needs: number }[]
  sets: number[][]
  blocks: { name: string; modules: number[]; folded?: boolean }[]
  layout: {
    width: number
    height: number
    nodes: Box[]
    junctions: { x: number; y: number }[]
    lines: { from: number; to: number; points: number[] }[]
  }
}

interface Box { block: number; module: number; x: number; y: number; width: number; height: number }

// Face is what a box shows.
export interface Face { kind: Kind; title: string; line: string; cells?: Kind[]; part?: number; dim?: boolean; critical?: boolean }

const closest = 2
// Below this scale a box shows its colour and shape only.
const readable = 0.5

export class GraphView {
  onChoose = (_box: number) => {}
  onUnfold = (_block: number) => {}
  chosen = -1

  private graph: Graph | null = null
  private faces: Face[] = []
  private critical = new Set<number>() // lines
  private scale = 1
  private x = 0 // the point of the drawing at the corner, in its pixels
  private y = 0
  private plain = new Path2D()
  private strong = new Path2D()
  private colours: Record<string, string> = {}
  private font = ''
  private dirty = new Set<number>()
  private whole = false
  private frame = 0
  private fitted = true // until a person moves it
  private canvas = document.createElement('canvas')
  private c = this.canvas.getContext('2d', { alpha: false })!
  private resized = new ResizeObserver(() => (this.fitted ? this.fit() : this.redraw()))
  private scheme = matchMedia('(prefers-color-scheme: dark)')
  private recolour = () => {
    this.colours = {}
    this.redraw()
  }
  private pointers = new Map<number, { x: number; y: number }>()
  private moved = 0

  constructor(private box: HTMLElement) {
    this.canvas.setAttribute('role', 'img')
    this.canvas.setAttribute('aria-label', 'Graph')
    box.replaceChildren(this.canvas)
    this.resized.observe(box)
    this.scheme.addEventListener('change', this.recolour)
    document.fonts.ready.then(() => this.redraw())
    this.canvas.addEventListener('wheel', (e) => this.wheel(e), { passive: false })
    this.canvas.addEventListener('pointerdown', (e) => this.down(e))
    this.canvas.addEventListener('pointermove', (e) => this.move(e))
    for (const end of ['pointerup', 'pointercancel'] as const) this.canvas.addEventListener(end, (e) => this.up(e))
  }

  close() {
    this.resized.disconnect()
    this.scheme.removeEventListener('change', this.recolour)
    cancelAnimationFrame(this.frame)
  }

  show(graph: Graph, name: string) {
    const first = !this.graph
    this.graph = graph
    this.faces = []
    this.canvas.setAttribute('aria-label', name)
    this.setCritical([])
    if (first || this.fitted) this.fit()
    this.redraw()
  }

  // setFaces takes what all boxes show, and draws those that changed.
  setFaces(faces: Face[]) {
    faces.forEach((face, i) => {
      const had = this.faces[i]
      if (had && JSON.stringify(had) === JSON.stringify(face)) return
      this.dirty.add(i)
    })
    this.faces = faces
    this.plan()
  }

  // setCritical takes the boxes of the critical path, in order.
  setCritical(path: number[]) {
    const { nodes, lines } = this.graph!.layout
    const ends = new Set<number>()
    for (let i = 1; i < path.length; i++) {
      const [a, b] = [path[i - 1], path[i]]
      const direct = lines.findIndex((l) => l.from === a && l.to === b)
      if (direct >= 0) ends.add(direct)
      else {
        const into = lines.findIndex((l) => l.from === a && l.to >= nodes.length && lines.some((m) => m.from === l.to && m.to === b))
        if (into >= 0) ends.add(into).add(lines.findIndex((m) => m.from === lines[into].to && m.to === b))
      }
    }
    this.critical = ends
    this.plain = new Path2D()
    this.strong = new Path2D()
    lines.forEach((l, i) => elbow(ends.has(i) ? this.strong : this.plain, l.points))
    this.redraw()
  }

  zoom(by: number) {
    this.zoomAt(by, this.canvas.clientWidth / 2, this.canvas.clientHeight / 2)
  }

  fit() {
    if (!this.graph) return
    const { width, height } = this.graph.layout
    const [w, h] = [this.box.clientWidth, this.box.clientHeight]
    this.scale = Math.min(1, (w - 24) / Math.max(1, width), (h - 24) / Math.max(1, height))
    this.x = -(w / this.scale - width) / 2
    this.y = -(h / this.scale - height) / 2
    this.fitted = true
    this.redraw()
  }

  // at gives where a box is in the window, for tests and for what opens beside it.
  at(box: number): { x: number; y: number } {
    const n = this.graph!.layout.nodes[box]
    const r = this.canvas.getBoundingClientRect()
    return { x: r.left + (n.x + n.width / 2 - this.x) * this.scale, y: r.top + (n.y + n.height / 2 - this.y) * this.scale }
  }

  redraw() {
    this.whole = true
    this.plan()
  }

  private plan() {
    if (!this.frame) this.frame = requestAnimationFrame(() => ((this.frame = 0), this.draw()))
  }

  private wheel(e: WheelEvent) {
    e.preventDefault()
    if (e.ctrlKey || e.metaKey) this.zoomAt(Math.exp(-e.deltaY / 200), e.offsetX, e.offsetY)
    else this.pan(e.deltaX / this.scale, e.deltaY / this.scale)
  }

  private pan(dx: number, dy: number) {
    if (!this.graph) return
    const { width, height } = this.graph.layout
    const [w, h] = [this.canvas.clientWidth / this.scale, this.canvas.clientHeight / this.scale]
    this.x = Math.max(Math.min(0, width - w) - 60, Math.min(Math.max(0, width - w) + 60, this.x + dx))
    this.y = Math.max(Math.min(0, height - h) - 60, Math.min(Math.max(0, height - h) + 60, this.y + dy))
    this.fitted = false
    this.redraw()
  }

  private zoomAt(by: number, px: number, py: number) {
    if (!this.graph) return
    const before = this.scale
    const least = Math.min(0.05, this.canvas.clientWidth / Math.max(1, this.graph.layout.width))
    this.scale = Math.max(least, Math.min(closest, before * by))
    this.x += px / before - px / this.scale
    this.y += py / before - py / this.scale
    this.fitted = false
    this.redraw()
  }

  private down(e: PointerEvent) {
    this.canvas.setPointerCapture(e.pointerId)
    this.pointers.set(e.pointerId, { x: e.offsetX, y: e.offsetY })
    if (this.pointers.size === 1) this.moved = 0
  }

  private move(e: PointerEvent) {
    const was = this.pointers.get(e.pointerId)
    if (!was) {
      const i = this.hit(e.offsetX, e.offsetY)
      this.canvas.style.cursor = i >= 0 ? 'pointer' : ''
      this.canvas.title = i >= 0 && this.scale < readable ? `${this.faces[i].title}: ${this.faces[i].line}` : ''
      return
    }
    const at = { x: e.offsetX, y: e.offsetY }
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== e.pointerId)![1]
      const far = (p: { x: number; y: number }) => Math.hypot(p.x - other.x, p.y - other.y)
      this.zoomAt(far(at) / Math.max(1, far(was)), other.x, other.y)
    } else {
      this.moved += Math.hypot(at.x - was.x, at.y - was.y)
      if (this.moved > 3) this.pan((was.x - at.x) / this.scale, (was.y - at.y) / this.scale)
    }
    this.pointers.set(e.pointerId, at)
  }

  private up(e: PointerEvent) {
    if (!this.pointers.delete(e.pointerId) || this.moved > 3 || e.type !== 'pointerup') return
    const i = this.hit(e.offsetX, e.offsetY)
    if (i < 0) return
    const n = this.graph!.layout.nodes[i]
    if (n.module < 0) this.onUnfold(n.block)
    else this.onChoose(i)
  }

  private hit(px: number, py: number): number {
    const [x, y] = [px / this.scale + this.x, py / this.scale + this.y]
    return this.graph?.layout.nodes.findIndex((n) => x >= n.x && x <= n.x + n.width && y >= n.y && y <= n.y + n.height) ?? -1
  }

  private colour(name: string): string {
    return (this.colours[name] ??= getComputedStyle(this.canvas).getPropertyValue('--' + name))
  }

  private draw() {
    const [w, h, ratio] = [this.box.clientWidth, this.box.clientHeight, devicePixelRatio]
    if (!this.graph || !w || !h) return
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(h * ratio)) {
      this.canvas.width = Math.round(w * ratio)
      this.canvas.height = Math.round(h * ratio)
      this.whole = true
    }
    this.font ||= getComputedStyle(this.canvas).fontFamily
    const c = this.c
    const s = this.scale * ratio
    c.setTransform(s, 0, 0, s, -this.x * s, -this.y * s)
    const { nodes, junctions } = this.graph.layout
    const seen = (n: Box) => n.x + n.width > this.x && n.x < this.x + w / this.scale && n.y + n.height > this.y && n.y < this.y + h / this.scale

    if (this.whole) {
      c.fillStyle = this.colour('surface')
      c.fillRect(this.x, this.y, w / this.scale, h / this.scale)
      c.lineWidth = Math.max(1.25, 0.7 / this.scale)
      c.strokeStyle = this.colour('edge')
      c.stroke(this.plain)
      c.lineWidth = Math.max(2, 1.2 / this.scale)
      c.strokeStyle = this.colour('ink2')
      c.stroke(this.strong)
      if (this.scale >= readable) {
        c.fillStyle = this.colour('surface')
        c.strokeStyle = this.colour('edge')
        c.lineWidth = 1.5
        for (const j of junctions) {
          c.beginPath()
          c.arc(j.x, j.y, 3, 0, 7)
          c.fill()
          c.stroke()
        }
      }
      nodes.forEach((n, i) => seen(n) && this.node(n, this.faces[i], i))
    } else {
      for (const i of this.dirty) if (nodes[i] && seen(nodes[i])) this.node(nodes[i], this.faces[i], i)
    }
    this.dirty.clear()
    this.whole = false
  }

  private node(n: Box, face: Face | undefined, at: number) {
    if (!face) return
    const c = this.c
    const kind = colour(face.kind)
    const idle = face.kind === 'wait' || face.kind === 'skip'
    c.globalAlpha = 1
    c.fillStyle = this.colour('surface')
    if (face.dim) {
      // What lies below would shine through.
      box(c, n)
      c.fill()
      c.globalAlpha = 0.3
    }

    if (this.scale < readable) {
      c.fillStyle = this.colour(kind + '-bg')
      c.strokeStyle = this.colour(at === this.chosen ? 'ink' : kind + '-mid')
      c.lineWidth = at === this.chosen ? 3 / this.scale : 1.5 / this.scale
      box(c, n)
      c.fill()
      c.stroke()
      if (this.scale > 0.15 || face.kind === 'bad') this.shape(face.kind, n.x + n.width / 2 - 16, n.y + n.height / 2 - 16, 32)
      c.globalAlpha = 1
      return
    }

    c.fillStyle = this.colour(idle ? 'sunken' : 'surface')
    c.strokeStyle = this.colour(at === this.chosen ? 'run-mid' : face.kind === 'run' || face.kind === 'bad' ? kind + '-mid' : face.critical ? 'ink2' : 'line2')
    c.lineWidth = at === this.chosen ? 2.5 : face.critical ? 1.75 : 1
    c.setLineDash(face.kind === 'wait' ? [4, 3] : [])
    box(c, n)
    c.fill()
    c.stroke()
    c.setLineDash([])
    this.shape(face.kind, n.x + 8, n.y + 6, 16)
    c.textBaseline = 'alphabetic'
    c.fillStyle = this.colour(idle ? 'ink2' : 'ink')
    c.font = `560 12.5px ${this.font}`
    c.fillText(cut(c, face.title, n.width - 38), n.x + 30, n.y + 18)
    c.fillStyle = this.colour('ink3')
    c.font = `11px ${this.font}`
    c.fillText(cut(c, face.line, n.width - 38), n.x + 30, n.y + 33)
    if (face.cells) this.cells(n, face.cells)
    if (face.part) {
      c.fillStyle = this.colour('run-bg')
      c.fillRect(n.x + 8, n.y + n.height - 3, n.width - 16, 2)
      c.fillStyle = this.colour('run-mid')
      c.fillRect(n.x + 8, n.y + n.height - 3, (n.width - 16) * face.part, 2)
    }
    c.globalAlpha = 1
  }

  private cells(n: Box, cells: Kind[]) {
    const c = this.c
    const across = cells.length < 8 ? Math.max(1, cells.length) : 14
    const room = n.width - 16
    const step = cells.length < 8 ? Math.min(18, room / across) : room / across
    cells.forEach((kind, i) => {
      const [x, y] = [n.x + 8 + (i % across) * step, n.y + 41 + Math.floor(i / across) * 9]
      if (y + 7 > n.y + n.height) return
      c.fillStyle = this.colour(kind === 'wait' ? 'line2' : colour(kind) + '-mid')
      c.fillRect(x, y, step - 2, 7)
    })
  }

  private shape(kind: Kind, x: number, y: number, size: number) {
    const c = this.c
    c.save()
    c.translate(x, y)
    c.scale(size / 16, size / 16)
    c.strokeStyle = c.fillStyle = this.colour(colour(kind))
    c.lineWidth = 1.6
    c.lineCap = c.lineJoin = 'round'
    const cutOut = (path: string) => {
      c.strokeStyle = this.colour('surface')
      c.lineWidth = 1.7
      c.stroke(shapes(path))
    }
    const disc = 'M8 1.6a6.4 6.4 0 1 1 0 12.8 6.4 6.4 0 0 1 0-12.8z'
    const ring = 'M8 2.4a5.6 5.6 0 1 1 0 11.2 5.6 5.6 0 0 1 0-11.2z'
    if (kind === 'ok') c.fill(shapes(disc)), cutOut('m5.2 8.2 2 2 3.8-4.2')
    else if (kind === 'bad') c.fill(shapes('M5.3 1.6h5.4l3.7 3.7v5.4l-3.7 3.7H5.3l-3.7-3.7V5.3z')), cutOut('m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4')
    else if (kind === 'odd') c.fill(shapes('M8 1.6 14.6 13.2H1.4z')), cutOut('M8 6v3.4M8 11.4v.1')
    else if (kind === 'hit') {
      c.fill(shapes(disc))
      c.fillStyle = this.colour('surface')
      c.fill(shapes('M8.9 3.8 5.4 8.6h2.3l-.6 3.6 3.5-4.8H8.3z'))
    } else if (kind === 'ask') c.stroke(shapes('M8 2.2 3 4v4c0 3 2.2 5 5 5.8 2.8-.8 5-2.8 5-5.8V4zM5.9 7.9l1.5 1.5 2.8-2.9'))
    else if (kind === 'skip') c.stroke(shapes(ring + 'M5.4 8h5.2'))
    else if (kind === 'run') {
      c.lineWidth = 2.2
      c.globalAlpha *= 0.28
      c.stroke(shapes(ring))
      c.globalAlpha /= 0.28
      c.stroke(shapes('M8 2.4a5.6 5.6 0 0 1 5.6 5.6'))
    } else {
      c.setLineDash([2.2, 2.2])
      c.stroke(shapes(ring))
    }
    c.restore()
  }
}

const paths = new Map<string, Path2D>()
function shapes(path: string): Path2D {
  let p = paths.get(path)
  if (!p) paths.set(path, (p = new Path2D(path)))
  return p
}

function box(c: CanvasRenderingContext2D, n: Box) {
  c.beginPath()
  c.roundRect(n.x, n.y, n.width, n.height, 9)
}

// elbow adds a line with rounded corners to a path.
function elbow(path: Path2D, p: number[]) {
  path.moveTo(p[0], p[1])
  for (let i = 2; i < p.length - 2; i += 2) {
    const r = Math.min(7, Math.hypot(p[i] - p[i - 2], p[i + 1] - p[i - 1]) / 2, Math.hypot(p[i + 2] - p[i], p[i + 3] - p[i + 1]) / 2)
    path.arcTo(p[i], p[i + 1], p[i + 2], p[i + 3], r)
  }
  path.lineTo(p[p.length - 2], p[p.length - 1])
}

// widths remembers what was measured: measuring is most of the cost of a text.
const widths = new Map<string, string>()
function cut(c: CanvasRenderingContext2D, text: string, room: number): string {
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
