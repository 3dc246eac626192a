// The timeline of a run: for each worker, what it ran when. It is drawn on a
// canvas; the list of modules is the form of it that can be read aloud.
import type { Module } from './types'
import { duration, seconds } from './format'

interface BarOf { module: string; attempt: number; worker: string; assigned: number; from: number; to: number; kind: string; lane: number }

const laneHeight = 18
const left = 92
const axis = 24

const kinds: Record<string, string> = { succeeded: 'ok', failed: 'bad', timed_out: 'bad', running: 'run', assigned: 'run', lost: 'odd', cancelled: 'wait', superseded: 'wait' }

export class Timeline {
  onChoose = (_module: string, _attempt: number) => {}
  chosen = ''

  private bars: BarOf[] = []
  private workers: { name: string; y: number; lanes: number }[] = []
  private from = 0
  private to = 1
  private running = false
  private frame = 0
  private canvas = document.createElement('canvas')
  private resized = new ResizeObserver(() => this.update())
  private scheme = matchMedia('(prefers-color-scheme: dark)')
  private recolour = () => this.update()

  constructor(private box: HTMLElement) {
    this.canvas.setAttribute('role', 'img')
    this.canvas.setAttribute('aria-label', 'Timeline')
    box.replaceChildren(this.canvas)
    this.resized.observe(box)
    this.scheme.addEventListener('change', this.recolour)
    this.canvas.addEventListener('click', (e) => {
      const b = this.at(e)
      if (b) this.onChoose(b.module, b.attempt)
    })
    this.canvas.addEventListener('mousemove', (e) => {
      const b = this.at(e)
      this.canvas.title = b ? `${b.module}, attempt ${b.attempt} on ${b.worker}: ${duration(b.to - b.from)}` : ''
      this.canvas.style.cursor = b ? 'pointer' : ''
    })
  }

  close() {
    this.resized.disconnect()
    this.scheme.removeEventListener('change', this.recolour)
    cancelAnimationFrame(this.frame)
  }

  // set takes the attempts of all modules; now is in seconds, end of the run NaN
  // while it runs.
  set(list: Module[], started: number, end: number, now: number) {
    this.running = !(end > 0)
    this.from = started
    this.to = Math.max(this.running ? now + (now - started) * 0.06 : end, started + 1)
    const bars: BarOf[] = []
    for (const m of list) {
      for (const a of m.attempts) {
        const assigned = seconds(a.assignedAt ?? a.startedAt)
        if (!(assigned > 0) || !a.worker) continue
        const until = a.finishedAt ? seconds(a.finishedAt) : now
        bars.push({ module: m.name, attempt: a.number, worker: a.worker, assigned, from: a.startedAt ? seconds(a.startedAt) : until, to: Math.max(until, assigned), kind: kinds[a.state] ?? 'wait', lane: 0 })
      }
    }
    bars.sort((a, b) => a.assigned - b.assigned || (a.module < b.module ? -1 : 1))

    const free = new Map<string, number[]>()
    for (const b of bars) {
      const lanes = free.get(b.worker) ?? []
      free.set(b.worker, lanes)
      b.lane = lanes.findIndex((until) => until <= b.assigned + 0.0005)
      if (b.lane < 0) b.lane = lanes.length
      lanes[b.lane] = b.to
    }
    let y = axis
    this.workers = [...free].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, lanes]) => {
      const w = { name, y, lanes: lanes.length }
      y += Math.max(lanes.length * laneHeight, 34) + 10
      return w
    })
    this.bars = bars
    this.canvas.style.height = y + 'px'
    this.canvas.setAttribute('aria-label', `Timeline of ${bars.length} attempts on ${this.workers.length} workers; the list of modules has the same`)
    this.update()
  }

  update() {
    if (!this.frame) this.frame = requestAnimationFrame(() => ((this.frame = 0), this.draw()))
  }

  private x = (t: number) => left + ((t - this.from) / (this.to - this.from)) * (this.canvas.clientWidth - left - 12)

  private y(b: BarOf) {
    return (this.workers.find((w) => w.name === b.worker)?.y ?? axis) + b.lane * laneHeight
  }

  private at(e: MouseEvent): BarOf | undefined {
    const { left: ox, top: oy } = this.canvas.getBoundingClientRect()
    const [px, py] = [e.clientX - ox, e.clientY - oy]
    return this.bars.find((b) => py >= this.y(b) && py < this.y(b) + laneHeight - 2 && px >= this.x(b.assigned) - 1 && px <= Math.max(this.x(b.to), this.x(b.assigned) + 4))
  }

  private draw() {
    const [w, h, ratio] = [this.canvas.clientWidth, this.canvas.clientHeight, devicePixelRatio]
    if (!w || !h) return
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(h * ratio)) {
      this.canvas.width = Math.round(w * ratio)
      this.canvas.height = Math.round(h * ratio)
    }
    const c = this.canvas.getContext('2d')!
    const style = getComputedStyle(this.canvas)
    const colour = (name: string) => style.getPropertyValue('--' + name)
    c.setTransform(ratio, 0, 0, ratio, 0, 0)
    c.clearRect(0, 0, w, h)
    c.font = `11px ${style.fontFamily}`
    c.textBaseline = 'middle'
    this.grid(c, colour, w, h)

    for (const b of this.bars) {
      const [x, y] = [this.x(b.assigned), this.y(b)]
      const [start, end] = [this.x(b.from), Math.max(this.x(b.to), x + 3)]
      if (start - x > 2) this.fetching(c, colour, x, y, Math.min(start, end) - x)
      const bx = Math.min(start, end - 3)
      c.fillStyle = colour(b.kind + '-bg')
      c.strokeStyle = colour(b.kind + '-mid')
      c.lineWidth = b.module === this.chosen ? 2 : 1
      c.setLineDash(b.kind === 'odd' ? [3, 2] : [])
      c.beginPath()
      c.roundRect(bx + 0.5, y + 0.5, Math.max(3, end - bx - 1), laneHeight - 4, 4)
      c.fill()
      c.stroke()
      c.setLineDash([])
      const room = end - bx - 10
      if (room > 22) {
        c.fillStyle = colour(b.kind)
        c.fillText(fit(c, b.attempt > 1 ? `${b.module} ${b.attempt}` : b.module, room), bx + 5, y + laneHeight / 2 - 1)
      }
    }
  }

  private grid(c: CanvasRenderingContext2D, colour: (n: string) => string, w: number, h: number) {
    const step = niceStep((this.to - this.from) / Math.max(2, (w - left) / 90))
    c.fillStyle = colour('ink3')
    c.strokeStyle = colour('line')
    c.lineWidth = 1
    for (let t = 0; t <= this.to - this.from; t += step) {
      const x = Math.round(this.x(this.from + t)) + 0.5
      c.beginPath()
      c.moveTo(x, axis - 6)
      c.lineTo(x, h)
      c.stroke()
      if (x < w - 30) c.fillText(t === 0 ? '0s' : duration(t).replace(/\.0s$/, 's').replace(/ 00[sm]$/, ''), x + 4, 10)
    }
    for (const worker of this.workers) {
      c.fillStyle = colour('ink')
      c.font = c.font.replace(/^(\d+ )?/, '560 ')
      c.fillText(fit(c, worker.name, left - 18), 14, worker.y + 8)
      c.font = c.font.replace(/^\d+ /, '')
      c.beginPath()
      c.moveTo(0, worker.y - 5.5)
      c.lineTo(w, worker.y - 5.5)
      c.stroke()
    }
    if (this.running) {
      const x = Math.round(this.x(this.to / 1.06 + (this.from * 0.06) / 1.06)) + 0.5
      c.strokeStyle = colour('run')
      c.beginPath()
      c.moveTo(x, axis - 6)
      c.lineTo(x, h)
      c.stroke()
    }
  }

  private fetching(c: CanvasRenderingContext2D, colour: (n: string) => string, x: number, y: number, w: number) {
    c.strokeStyle = colour('wait-mid')
    c.lineWidth = 1
    c.beginPath()
    for (let i = 1; i < w; i += 3) {
      c.moveTo(x + i, y + 2)
      c.lineTo(x + i, y + laneHeight - 5)
    }
    c.stroke()
  }
}

function niceStep(min: number): number {
  for (const s of [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200]) if (s >= min) return s
  return 86400
}

function fit(c: CanvasRenderingContext2D, text: string, room: number): string {
  if (c.measureText(text).width <= room) return text
  let n = text.length
  while (n > 1 && c.measureText(text.slice(0, n) + '…').width > room) n--
  return n > 1 ? text.slice(0, n) + '…' : ''
}
