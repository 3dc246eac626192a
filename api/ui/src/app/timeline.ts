// The timeline of a run: what each worker ran when, or when each module ran. It is
// drawn on a canvas; the list of modules is the form of it that can be read aloud.
import { cut } from './canvas'
import { count, duration } from './format'
import { TimeScale } from './timescale'

// Bar is an attempt: assigned, begun and ended, in seconds.
export interface Bar {
  row: string
  module: string
  of?: string // the block that the module is an instance of
  attempt: number
  text: string
  note: string
  kind: string
  assigned: number
  from: number
  to: number
  adopted?: boolean
  beside?: boolean // its text may stand beside it
  expected?: number // when it is expected to end
}

// Wait is a time in which a module could have run, or is expected to run.
export interface Wait { row: string; from: number; to: number; expected?: boolean; text: string }

export interface Row { name: string; note: string }

// Takeover is when another node became the leader.
export interface Takeover { at: number; text: string }

export interface Picture { rows: Row[]; bars: Bar[]; waits: Wait[]; takeovers: Takeover[]; wide?: boolean; start: number; end: number; now?: number }

const laneHeight = 18
const axis = 24

export class Timeline {
  onChoose = (_bar: Bar) => {}
  // onZoom has the part that was chosen, in seconds since the start; null for all.
  onZoom = (_part: [number, number] | null) => {}
  chosen = ''
  pointed = '' // the module or block whose bars are not dimmed; '' is all
  zoomed: [number, number] | null = null

  private picture: Picture = { rows: [], bars: [], waits: [], takeovers: [], start: 0, end: 1 }
  private lanes = new Map<Bar, number>()
  private places = new Map<string, { y: number; height: number; row: Row }>()
  private scale = new TimeScale(0, 1, [], 0, 1)
  private height = 0
  private left = 104
  private brush: [number, number] | null = null
  private frame = 0
  private canvas = document.createElement('canvas')
  private space = document.createElement('div')
  private resized = new ResizeObserver(() => this.update())
  private scheme = matchMedia('(prefers-color-scheme: dark)')
  private recolour = () => this.update()

  constructor(private box: HTMLElement) {
    this.canvas.setAttribute('role', 'img')
    this.canvas.setAttribute('aria-label', 'Timeline')
    box.replaceChildren(this.canvas, this.space)
    this.resized.observe(box)
    this.scheme.addEventListener('change', this.recolour)
    box.addEventListener('scroll', this.recolour)
    document.fonts.ready.then(this.recolour)
    this.canvas.addEventListener('pointerdown', (e) => this.down(e))
    this.canvas.addEventListener('pointermove', (e) => this.move(e))
    this.canvas.addEventListener('pointerup', (e) => this.up(e))
    this.canvas.addEventListener('pointercancel', () => ((this.brush = null), this.update()))
    this.canvas.addEventListener('dblclick', () => this.onZoom(null))
  }

  close() {
    this.resized.disconnect()
    this.scheme.removeEventListener('change', this.recolour)
    cancelAnimationFrame(this.frame)
  }

  show(p: Picture) {
    this.picture = p
    const free = new Map<string, number[]>()
    this.lanes.clear()
    for (const b of [...p.bars].sort((a, b) => a.assigned - b.assigned || (a.module < b.module ? -1 : 1))) {
      const lanes = free.get(b.row) ?? []
      free.set(b.row, lanes)
      let lane = lanes.findIndex((until) => until <= b.assigned + 0.0005)
      if (lane < 0) lane = lanes.length
      lanes[lane] = Math.max(b.to, b.expected ?? 0)
      this.lanes.set(b, lane)
    }
    let y = axis
    this.places.clear()
    for (const row of p.rows) {
      const height = Math.max(Math.max(1, free.get(row.name)?.length ?? 1) * laneHeight, row.note ? 32 : 0) + 8
      this.places.set(row.name, { y, height, row })
      y += height
    }
    this.height = y + (p.takeovers.length ? 20 : 4)
    this.canvas.setAttribute('aria-label', `Timeline of ${count(p.bars.length, 'attempt')} in ${count(p.rows.length, 'row')}; the list of modules has the same`)
    this.update()
  }

  // at gives where a bar is in the window, for tests.
  at(module: string, attempt: number): { x: number; y: number } | null {
    const b = this.picture.bars.find((b) => b.module === module && b.attempt === attempt)
    const r = this.canvas.getBoundingClientRect()
    return b ? { x: r.left + (this.scale.x(b.from) + this.scale.x(b.to)) / 2, y: r.top + this.y(b) - this.box.scrollTop + laneHeight / 2 } : null
  }

  update() {
    if (!this.frame) this.frame = requestAnimationFrame(() => ((this.frame = 0), this.draw()))
  }

  private y = (b: Bar) => (this.places.get(b.row)?.y ?? axis) + this.lanes.get(b)! * laneHeight + 3

  private hit(e: PointerEvent): Bar | undefined {
    const [px, py] = [e.offsetX, e.offsetY + this.box.scrollTop]
    return this.picture.bars.find((b) => py >= this.y(b) && py < this.y(b) + laneHeight - 2 && px >= this.scale.x(b.assigned) - 1 && px <= Math.max(this.scale.x(b.to), this.scale.x(b.assigned) + 4))
  }

  private takeoversAt = (x: number) => this.picture.takeovers.filter((t) => Math.abs(this.scale.x(t.at) - x) < 5).map((t) => t.text).join('\n')

  private down(e: PointerEvent) {
    if (e.button !== 0 || e.offsetX < this.left || e.pointerType === 'touch') return
    this.canvas.setPointerCapture(e.pointerId)
    this.brush = [e.offsetX, e.offsetX]
  }

  private move(e: PointerEvent) {
    if (this.brush) {
      this.brush[1] = Math.max(this.left, e.offsetX)
      this.update()
      return
    }
    const b = this.hit(e)
    this.canvas.title = b ? `${b.note}: ${duration(b.to - b.from)}${b.from > b.assigned + 0.05 ? `, after ${duration(b.from - b.assigned)} of fetching` : ''}` : this.takeoversAt(e.offsetX)
    this.canvas.style.cursor = b ? 'pointer' : 'crosshair'
  }

  private up(e: PointerEvent) {
    const brush = this.brush
    this.brush = null
    this.update()
    if (brush && Math.abs(brush[1] - brush[0]) > 6) {
      const [a, b] = brush.map((x) => this.scale.time(x) - this.picture.start).sort((p, q) => p - q)
      this.onZoom([a, Math.max(b, a + 0.05)])
      return
    }
    const b = this.hit(e)
    if (b) this.onChoose(b)
  }

  private draw() {
    const [w, h, ratio] = [this.box.clientWidth, Math.min(this.box.clientHeight, this.height), devicePixelRatio]
    if (!w || !h) return
    this.space.style.height = Math.max(0, this.height - h) + 'px'
    this.canvas.style.height = h + 'px'
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(h * ratio)) {
      this.canvas.width = Math.round(w * ratio)
      this.canvas.height = Math.round(h * ratio)
    }
    const p = this.picture
    this.left = w < 600 ? 74 : p.wide ? 168 : 104
    const last = p.now ? Math.max(p.now + (p.now - p.start) * 0.06, ...p.bars.map((b) => b.expected ?? 0), ...p.waits.map((x) => x.to)) : p.end
    const part = this.zoomed ? [p.start + this.zoomed[0], p.start + this.zoomed[1]] : [p.start, Math.max(last, p.start + 0.5)]
    const busy: [number, number][] = [...p.bars.map((b): [number, number] => [b.assigned, Math.max(b.to, b.expected ?? 0)]), ...p.waits.filter((x) => x.expected).map((x): [number, number] => [x.from, x.to]), ...(p.now ? [[p.now - 1, p.now + 1] as [number, number]] : [])]
    this.scale = new TimeScale(part[0], part[1], busy, this.left, w - 14)

    const c = this.canvas.getContext('2d')!
    const style = getComputedStyle(this.canvas)
    const colours: Record<string, string> = {}
    const colour = (name: string) => (colours[name] ??= style.getPropertyValue('--' + name))
    c.setTransform(ratio, 0, 0, ratio, 0, 0)
    c.fillStyle = colour('surface')
    c.fillRect(0, 0, w, h)
    c.font = `11px ${style.fontFamily}`
    c.textBaseline = 'middle'
    c.save()
    c.translate(0, -this.box.scrollTop)
    const seen = (y: number, height = laneHeight) => y + height > this.box.scrollTop && y < this.box.scrollTop + h
    c.save()
    c.beginPath()
    c.rect(this.left, 0, w - this.left, this.height)
    c.clip()
    this.grid(c, colour)
    for (const x of p.waits) if (seen(this.places.get(x.row)?.y ?? -99)) this.wait(c, colour, x)
    for (const b of p.bars) {
      if (!seen(this.y(b))) continue
      c.globalAlpha = !this.pointed || b.module === this.pointed || b.of === this.pointed ? 1 : 0.3
      this.bar(c, colour, b)
    }
    c.globalAlpha = 1
    this.marks(c, colour)
    c.restore()
    for (const { y, height, row } of this.places.values()) if (seen(y, height)) this.label(c, colour, y, height, row, w)
    c.restore()
    this.times(c, colour, w)
    if (this.brush) {
      const [a, b] = [...this.brush].sort((p, q) => p - q)
      c.fillStyle = colour('run')
      c.globalAlpha = 0.12
      c.fillRect(a, 0, b - a, h)
      c.globalAlpha = 1
    }
  }

  private label(c: CanvasRenderingContext2D, colour: (n: string) => string, y: number, height: number, row: Row, w: number) {
    c.fillStyle = colour('ink')
    c.font = c.font.replace(/^(\d{3} )?/, '560 ')
    c.fillText(cut(c, row.name, this.left - 20), 14, y + laneHeight / 2 + 2)
    c.font = c.font.replace(/^\d{3} /, '')
    c.fillStyle = colour('ink3')
    if (row.note) c.fillText(cut(c, row.note, this.left - 20), 14, y + laneHeight / 2 + 16)
    c.fillStyle = colour('line')
    c.fillRect(0, y + height - 2, w, 1)
  }

  private bar(c: CanvasRenderingContext2D, colour: (n: string) => string, b: Bar) {
    const [x, y] = [this.scale.x(b.assigned), this.y(b)]
    const [start, end] = [this.scale.x(b.from), Math.max(this.scale.x(b.to), x + 3)]
    if (b.expected && b.expected > b.to) {
      c.strokeStyle = colour('wait-mid')
      c.setLineDash([3, 3])
      rounded(c, end - 4, y, this.scale.x(b.expected) - end + 4)
      c.stroke()
      c.setLineDash([])
    }
    if (start - x > 2) this.fetching(c, colour, x, y, Math.min(start, end) - x)
    const left = Math.min(start, end - 3)
    c.fillStyle = colour(b.kind + '-bg')
    c.strokeStyle = colour((b.adopted ? 'odd' : b.kind) + '-mid')
    c.lineWidth = b.module === this.chosen ? 2 : 1
    if (b.kind === 'odd') c.setLineDash([3, 2])
    rounded(c, left, y, Math.max(3, end - left))
    c.fill()
    c.stroke()
    c.setLineDash([])
    if (b.kind === 'odd') {
      // It was cut off: a hard end.
      c.fillStyle = colour('odd-mid')
      c.fillRect(end - 2, y, 2, laneHeight - 3)
    }
    c.lineWidth = 1
    const room = end - left - 10
    c.fillStyle = colour(room > 22 ? b.kind : 'ink3')
    if (room > 22) c.fillText(cut(c, b.text, room), left + 5, y + laneHeight / 2 - 1)
    else if (b.beside) c.fillText(b.text, end + 5, y + laneHeight / 2 - 1)
  }

  private wait(c: CanvasRenderingContext2D, colour: (n: string) => string, x: Wait) {
    const y = this.places.get(x.row)!.y + 3
    const [a, b] = [this.scale.x(x.from), this.scale.x(x.to)]
    if (b - a < 1.5) return
    c.strokeStyle = colour('wait-mid')
    if (!x.expected) {
      c.fillStyle = colour('line2')
      c.fillRect(a, y + 6, b - a, 3)
      return
    }
    c.setLineDash([3, 3])
    rounded(c, a, y, Math.max(3, b - a))
    c.stroke()
    c.setLineDash([])
    if (b - a > 32) {
      c.fillStyle = colour('ink3')
      c.fillText(cut(c, x.text, b - a - 10), a + 5, y + laneHeight / 2 - 1)
    }
  }

  private fetching(c: CanvasRenderingContext2D, colour: (n: string) => string, x: number, y: number, w: number) {
    c.strokeStyle = colour('wait-mid')
    c.beginPath()
    for (let i = 1; i < w; i += 3) {
      c.moveTo(x + i, y + 2)
      c.lineTo(x + i, y + laneHeight - 5)
    }
    c.stroke()
  }

  private grid(c: CanvasRenderingContext2D, colour: (n: string) => string) {
    c.fillStyle = colour('line')
    for (const t of this.scale.ticks(this.picture.start, 90)) c.fillRect(Math.round(this.scale.x(t)), axis - 6, 1, this.height)
    c.fillStyle = colour('sunken')
    for (const g of this.scale.gaps) c.fillRect(g.x + 3, axis - 6, this.scale.x(g.to) - g.x - 6, this.height)
  }

  // marks are takeovers and the present.
  private marks(c: CanvasRenderingContext2D, colour: (n: string) => string) {
    const { takeovers, now } = this.picture
    let free = this.canvas.clientWidth - 6 // up to where a text may be; the newest one has its place
    for (const t of [...takeovers].sort((a, b) => b.at - a.at)) {
      const x = Math.round(this.scale.x(t.at))
      c.fillStyle = colour('odd')
      c.fillRect(x, axis - 6, 1, this.height - axis - 8)
      const w = c.measureText(t.text).width + 12
      const left = free === this.canvas.clientWidth - 6 ? Math.min(x, free - w) : x
      if (left + w > free) continue
      free = left - 4
      c.fillStyle = colour('odd-bg')
      c.fillRect(left, this.height - 20, w, 17)
      c.fillStyle = colour('odd')
      c.fillText(t.text, left + 6, this.height - 11)
    }
    if (now) {
      c.fillStyle = colour('run')
      c.fillRect(Math.round(this.scale.x(now)), axis - 6, 1, this.height)
    }
  }

  // times are the axis, which stays in sight.
  private times(c: CanvasRenderingContext2D, colour: (n: string) => string, w: number) {
    c.fillStyle = colour('surface')
    c.fillRect(0, 0, w, axis - 6)
    c.fillStyle = colour('ink3')
    for (const t of this.scale.ticks(this.picture.start, 90)) {
      const x = this.scale.x(t)
      const text = Math.abs(t - this.picture.start) < 0.001 ? '0s' : duration(t - this.picture.start).replace(/\.0s$/, 's').replace(/ 00[sm]$/, '')
      if (x >= this.left - 1 && x < w - 36) c.fillText(text, x + 4, 10)
    }
    for (const g of this.scale.gaps) {
      const text = duration(g.to - g.from).split(' ')[0]
      c.fillText('⋯ ' + text, Math.min(g.x + 1, w - 40), 10)
    }
  }
}

function rounded(c: CanvasRenderingContext2D, x: number, y: number, width: number) {
  c.beginPath()
  c.roundRect(x + 0.5, y + 0.5, Math.max(2, width - 1), laneHeight - 4, 4)
}
