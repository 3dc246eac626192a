// The drawing of a run's graph on a canvas: the node laid it out, this shows how
// it stands. The list of modules is its form for keyboards and screen readers.
import { Boxes, readable, type Box, type Face } from './graphbox'
import { Lines, alongPath, between } from './graphlines'

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

// needsOf are the names of the modules that one waits for.
export const needsOf = (g: Graph, i: number): string[] => (g.sets[g.modules[i].needs] ?? []).map((n) => g.modules[n].name)

// relatives are a module, or the instances of a block, with all that these wait for and all
// that waits for them; null if there is none of that name.
export function relatives(g: Graph, name: string): Set<number> | null {
  const own = g.modules.flatMap((m, i) => (m.name === name ? [i] : []))
  const start = own.length > 0 ? own : (g.blocks.find((b) => b.name === name)?.modules ?? [])
  if (start.length === 0) return null
  const setsWith: number[][] = [] // by module
  g.sets.forEach((set, s) => set.forEach((i) => (setsWith[i] ??= []).push(s)))
  const users: number[][] = [] // by set
  g.modules.forEach((m, i) => m.needs >= 0 && (users[m.needs] ??= []).push(i))

  const out = new Set(start)
  const walk = (next: (i: number) => number[], members: (set: number) => number[]) => {
    const [seen, sets] = [new Set(start), new Set<number>()]
    for (const i of seen) {
      for (const s of next(i)) {
        if (sets.has(s)) continue
        sets.add(s)
        members(s).forEach((k) => (seen.add(k), out.add(k)))
      }
    }
  }
  walk((i) => (g.modules[i].needs >= 0 ? [g.modules[i].needs] : []), (s) => g.sets[s])
  walk((i) => setsWith[i] ?? [], (s) => users[s] ?? [])
  return out
}

const closest = 2

// margin is how many pixels the canvas has on each side of what is seen, once a person has
// moved the graph. Moving the canvas costs a third of drawing it onto itself, and boxes that
// come into sight are drawn once, not a strip in each frame.
const margin = 96

export class GraphView {
  onChoose = (_box: number) => {}
  onUnfold = (_block: number) => {}
  onPoint = (_box: number) => {} // -1 is none
  chosen = -1

  private graph: Graph | null = null
  private faces: Face[] = []
  private scale = 1
  private x = 0 // the point of the drawing at the corner, in its pixels
  private y = 0
  private far = new Lines([])
  private plain = new Lines([])
  private strong = new Lines([])
  private path: number[] = []
  private related: Set<number> | null = null
  private drawnAt = [0, 0] // where its corner is on the canvas
  private around = false // whether the margin is drawn too
  private colours: Record<string, string> = {}
  private font = ''
  private dirty = new Set<number>()
  private whole = false
  private frame = 0
  private fitted = true // until a person moves it
  private canvas = document.createElement('canvas')
  private c = this.canvas.getContext('2d', { alpha: false })!
  private boxes = new Boxes(this.c, (name) => this.colour(name), () => this.font)
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
    this.canvas.style.transformOrigin = '0 0'
    this.canvas.addEventListener('wheel', (e) => this.wheel(e), { passive: false })
    this.canvas.addEventListener('pointerdown', (e) => this.down(e))
    this.canvas.addEventListener('pointermove', (e) => this.move(e))
    this.canvas.addEventListener('pointerleave', () => this.onPoint(-1))
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
    this.related = null
    this.setCritical([])
    if (first || this.fitted) this.fit()
    this.redraw()
  }

  // setFaces takes what all boxes show, and draws those that changed.
  setFaces(faces: Face[]) {
    faces.forEach((face, i) => same(this.faces[i], face) || this.dirty.add(i))
    this.faces = faces
    if (this.dirty.size > 0) this.plan()
  }

  // setCritical takes the boxes of the critical path, in order.
  setCritical(path: number[]) {
    this.path = path
    this.arrange()
  }

  // setRelated takes the boxes between which lines are not dimmed; null is all.
  setRelated(boxes: Set<number> | null) {
    if (boxes === this.related) return
    this.related = boxes
    this.arrange()
  }

  private arrange() {
    if (!this.graph) return // it is asked for again, and its path comes after it
    const { nodes, lines } = this.graph.layout
    const near = this.related && between(lines, nodes.length, this.related)
    const strong = alongPath(lines, nodes.length, this.path)
    const kind = (i: number) => (near && !near.has(i) ? 'far' : strong.has(i) ? 'strong' : 'plain')
    for (const k of ['far', 'plain', 'strong'] as const) this[k] = new Lines(lines.filter((_, i) => kind(i) === k))
    this.redraw()
  }

  zoom(by: number) {
    this.zoomAt(by, this.box.clientWidth / 2, this.box.clientHeight / 2)
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
    const r = this.box.getBoundingClientRect()
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
    if (e.ctrlKey || e.metaKey) this.zoomAt(Math.exp(-e.deltaY / 200), this.point(e).x, this.point(e).y)
    else this.pan(e.deltaX / this.scale, e.deltaY / this.scale)
  }

  private pan(dx: number, dy: number) {
    if (!this.graph) return
    const { width, height } = this.graph.layout
    const [w, h] = [this.box.clientWidth / this.scale, this.box.clientHeight / this.scale]
    this.x = Math.max(Math.min(0, width - w) - 60, Math.min(Math.max(0, width - w) + 60, this.x + dx))
    this.y = Math.max(Math.min(0, height - h) - 60, Math.min(Math.max(0, height - h) + 60, this.y + dy))
    this.fitted = false
    this.plan()
  }

  private zoomAt(by: number, px: number, py: number) {
    if (!this.graph) return
    const before = this.scale
    const least = Math.min(0.05, this.box.clientWidth / Math.max(1, this.graph.layout.width))
    this.scale = Math.max(least, Math.min(closest, before * by))
    this.x += px / before - px / this.scale
    this.y += py / before - py / this.scale
    this.fitted = false
    this.redraw()
  }

  // point is where a pointer is in the box.
  private point(e: MouseEvent): { x: number; y: number } {
    const r = this.box.getBoundingClientRect()
    return { x: e.clientX - r.left, y: e.clientY - r.top }
  }

  private down(e: PointerEvent) {
    this.canvas.setPointerCapture(e.pointerId)
    this.pointers.set(e.pointerId, this.point(e))
    if (this.pointers.size === 1) this.moved = 0
  }

  private move(e: PointerEvent) {
    const was = this.pointers.get(e.pointerId)
    const at = this.point(e)
    if (!was) {
      const i = this.hit(at.x, at.y)
      this.onPoint(i)
      this.canvas.style.cursor = i >= 0 ? 'pointer' : ''
      this.canvas.title = i >= 0 && this.scale < readable ? `${this.faces[i].title}: ${this.faces[i].line}` : ''
      return
    }
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
    const i = this.hit(this.point(e).x, this.point(e).y)
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

  // draw draws all that is seen, or moves what is drawn, and draws boxes that changed. It
  // never draws more: that bounds what a frame costs.
  private draw() {
    const [w, h] = [this.box.clientWidth, this.box.clientHeight].map((n) => Math.round(n * devicePixelRatio))
    if (!w || !h) return
    const m = this.fitted ? 0 : margin
    const [cw, ch] = [w + 2 * m, h + 2 * m]
    if (this.canvas.width !== cw || this.canvas.height !== ch) {
      this.canvas.width = cw
      this.canvas.height = ch
      this.canvas.style.width = `${cw / devicePixelRatio}px`
      this.whole = true
    }
    if (!this.graph) {
      this.c.fillStyle = this.colour('surface')
      this.c.fillRect(0, 0, cw, ch)
      return
    }
    this.font ||= getComputedStyle(this.canvas).fontFamily
    const s = this.scale * devicePixelRatio
    const at = [Math.round(-this.x * s), Math.round(-this.y * s)]
    if (this.whole) {
      this.drawnAt = [at[0] + m, at[1] + m]
      this.around = false
      this.paint(m, m, w, h)
    } else {
      if (m) this.reach(at, w, h)
      for (const i of this.dirty) {
        const n = this.graph.layout.nodes[i]
        if (n) this.paint(n.x * s + this.drawnAt[0] - 3, n.y * s + this.drawnAt[1] - 3, n.width * s + 6, n.height * s + 6, i)
      }
    }
    this.canvas.style.transform = `translate(${(at[0] - this.drawnAt[0]) / devicePixelRatio}px, ${(at[1] - this.drawnAt[1]) / devicePixelRatio}px)`
    this.dirty.clear()
    this.whole = false
  }

  // reach makes the canvas hold what is seen if the graph's corner is at a point of the box.
  private reach(at: number[], w: number, h: number) {
    const [cw, ch] = [w + 2 * margin, h + 2 * margin]
    const moved = [0, 1].map((i) => at[i] + margin - this.drawnAt[i])
    if (!moved[0] && !moved[1]) return
    if (!this.around) {
      this.around = true
      this.paint(0, 0, cw, margin)
      this.paint(0, ch - margin, cw, margin)
      this.paint(0, margin, margin, h)
      this.paint(cw - margin, margin, margin, h)
    }
    if (moved.every((d) => Math.abs(d) <= margin)) return
    const [dx, dy] = moved.map((d) => d + (Math.sign(d) * margin) / 2) // more lies ahead
    this.drawnAt = [this.drawnAt[0] + dx, this.drawnAt[1] + dy]
    if (Math.abs(dx) >= cw || Math.abs(dy) >= ch) return this.paint(0, 0, cw, ch)
    this.c.setTransform(1, 0, 0, 1, 0, 0)
    this.c.drawImage(this.canvas, dx, dy)
    if (dx) this.paint(dx > 0 ? 0 : cw + dx, 0, Math.abs(dx), ch)
    if (dy) this.paint(0, dy > 0 ? 0 : ch + dy, cw, Math.abs(dy))
  }

  // paint draws a part of the canvas, whose pixels it takes; only is the one box in it.
  private paint(px: number, py: number, width: number, height: number, only?: number) {
    const [left, top] = [Math.max(0, Math.floor(px)), Math.max(0, Math.floor(py))]
    const [right, bottom] = [Math.min(this.canvas.width, Math.ceil(px + width)), Math.min(this.canvas.height, Math.ceil(py + height))]
    if (left >= right || top >= bottom) return
    const { c, drawnAt: at } = this
    const s = this.scale * devicePixelRatio
    const part = { x0: (left - at[0]) / s, y0: (top - at[1]) / s, x1: (right - at[0]) / s, y1: (bottom - at[1]) / s }
    const { nodes, junctions } = this.graph!.layout
    c.save()
    c.setTransform(1, 0, 0, 1, 0, 0)
    c.beginPath()
    c.rect(left, top, right - left, bottom - top)
    c.clip()
    c.fillStyle = this.colour('surface')
    c.fillRect(left, top, right - left, bottom - top)
    c.setTransform(s, 0, 0, s, at[0], at[1])

    const near = this.scale >= readable
    for (const [lines, colour, line] of [[this.far, 'line', 1.25], [this.plain, 'edge', 1.25], [this.strong, 'ink2', 2]] as const) {
      c.fillStyle = c.strokeStyle = this.colour(colour)
      lines.draw(c, part, s, line * devicePixelRatio * (near ? Math.max(1, this.scale) : 1), near)
    }
    if (near) {
      c.fillStyle = this.colour('surface')
      c.strokeStyle = this.colour('edge')
      c.lineWidth = 1.5
      for (const j of junctions) {
        if (j.x + 4 < part.x0 || j.x - 4 > part.x1 || j.y + 4 < part.y0 || j.y - 4 > part.y1) continue
        c.beginPath()
        c.arc(j.x, j.y, 3, 0, 7)
        c.fill()
        c.stroke()
      }
    }
    const m = 3 / s
    const box = (i: number) => this.boxes.draw(nodes[i], this.faces[i], this.scale, i === this.chosen)
    if (only !== undefined) box(only)
    else nodes.forEach((n, i) => n.x + n.width > part.x0 - m && n.x < part.x1 + m && n.y + n.height > part.y0 - m && n.y < part.y1 + m && box(i))
    c.restore()
  }
}

export function same(a: Face | undefined, b: Face): boolean {
  return !!a && a.kind === b.kind && a.title === b.title && a.line === b.line && a.part === b.part && a.dim === b.dim && a.critical === b.critical && a.cells?.join() === b.cells?.join()
}
