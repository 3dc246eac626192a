// A view of many lines of which only those in sight are elements. It is no
// component: it draws at most once a frame, and only rows that changed.
import { spans } from './ansi'

export interface Line { text: string; time?: number; module?: string }

// Lines is where the view takes them from; number is from 1.
export interface Lines {
  readonly count: number
  get(number: number): Line | undefined
}

const rowHeight = 19
// Browsers end elements at some 17 million pixels: beyond this height, scrolling
// is scaled.
const tallest = 5_000_000

export type Times = 'none' | 'relative' | 'absolute'

export class LogView {
  follows = true
  times: Times = 'relative'
  start = 0 // what relative times count from, in seconds
  found = '' // text that is marked
  selected: [number, number] | null = null
  onFollow = (_: boolean) => {}
  onSelect = (_from: number, _to: number) => {}

  private top = 0 // the first row in sight, with a fraction
  private rows: HTMLElement[] = []
  private drawn: string[] = []
  private space = document.createElement('div')
  private sight = document.createElement('div')
  private frame = 0
  private own = false // the next scroll event is ours
  private resized = new ResizeObserver(() => this.update())

  constructor(private box: HTMLElement, private lines: Lines) {
    this.space.className = 'space'
    this.sight.className = 'sight'
    box.replaceChildren(this.space, this.sight)
    box.addEventListener('scroll', () => this.scrolled())
    this.sight.addEventListener('click', (e) => this.clicked(e))
    this.resized.observe(box)
  }

  close() {
    this.resized.disconnect()
    cancelAnimationFrame(this.frame)
  }

  show(lines: Lines) {
    this.lines = lines
    this.drawn = []
    this.update()
  }

  // redraw draws all rows again: how they look has changed.
  redraw() {
    this.drawn = []
    this.update()
  }

  update() {
    if (!this.frame) this.frame = requestAnimationFrame(() => ((this.frame = 0), this.draw()))
  }

  // to brings a line into the middle of the sight.
  to(number: number) {
    this.setFollow(false)
    this.place(number - 1 - this.sightRows() / 2)
    this.update()
  }

  setFollow(on: boolean) {
    if (this.follows !== on) {
      this.follows = on
      this.onFollow(on)
    }
    if (on) this.update()
  }

  private sightRows = () => Math.max(1, this.box.clientHeight / rowHeight)
  private last = () => Math.max(0, this.lines.count - Math.floor(this.sightRows()))

  private scrolled() {
    if (this.own) {
      this.own = false
      return
    }
    const max = this.box.scrollHeight - this.box.clientHeight
    this.top = max > 0 ? (this.box.scrollTop / max) * this.last() : 0
    this.setFollow(this.top >= this.last() - 0.6)
    this.update()
  }

  private place(top: number) {
    this.top = Math.max(0, Math.min(this.last(), top))
    const max = this.box.scrollHeight - this.box.clientHeight
    const y = this.last() > 0 ? (this.top / this.last()) * max : 0
    if (Math.abs(y - this.box.scrollTop) >= 1) {
      this.own = true
      this.box.scrollTop = y
    }
  }

  private draw() {
    this.space.style.height = Math.min(tallest, this.lines.count * rowHeight) + 'px'
    if (this.follows) this.place(this.last())
    const first = Math.floor(this.top)
    const n = Math.ceil(this.sightRows()) + 1
    const y = this.follows ? this.box.scrollTop + Math.min(0, this.box.clientHeight - (this.lines.count - first) * rowHeight) : this.box.scrollTop - (this.top - first) * rowHeight
    this.sight.style.transform = `translateY(${Math.max(0, y)}px)`

    while (this.rows.length < n) {
      const row = document.createElement('div')
      row.className = 'line'
      this.sight.append(row)
      this.rows.push(row)
    }
    this.rows.forEach((row, i) => {
      const number = first + i + 1
      const line = i < n && number <= this.lines.count ? this.lines.get(number) : undefined
      const key = line ? `${number} ${line.text.length} ${line.time ?? ''} ${line.text.slice(-16)}` : number <= this.lines.count && i < n ? `${number}` : ''
      if (this.drawn[i] === key) return
      this.drawn[i] = key
      if (line) this.fill(row, number, line)
      else row.replaceChildren()
    })
  }

  private fill(row: HTMLElement, number: number, line: Line) {
    const gutter = document.createElement('span')
    gutter.className = 'no'
    gutter.dataset.no = String(number)
    const parts: HTMLElement[] = [gutter]
    if (this.times !== 'none') parts.push(element('time', this.time(line)))
    if (line.module !== undefined) parts.push(element('of', line.module))

    const text = element('text', '')
    for (const s of spans(line.text)) {
      const span = this.mark(s.text)
      if (s.classes) span.className = s.classes
      if (s.colour) span.style.color = s.colour
      if (s.background) span.style.background = s.background
      text.append(span)
    }
    parts.push(text)
    row.replaceChildren(...parts)
    const [from, to] = this.selected ?? [0, -1]
    row.classList.toggle('hl', number >= from && number <= to)
  }

  // mark makes an element of a text, with what was searched for marked in it.
  private mark(text: string): HTMLElement {
    const span = element('', '')
    const want = this.found.toLowerCase()
    const low = want ? text.toLowerCase() : ''
    let at = 0
    for (let hit; want && (hit = low.indexOf(want, at)) >= 0; at = hit + want.length) {
      const mark = document.createElement('mark')
      mark.textContent = text.slice(hit, hit + want.length)
      span.append(text.slice(at, hit), mark)
    }
    span.append(text.slice(at))

    return span
  }

  private time(line: Line): string {
    if (!line.time) return ''
    if (this.times === 'absolute') return new Date(line.time * 1000).toTimeString().slice(0, 8)
    return '+' + Math.max(0, line.time - this.start).toFixed(1)
  }

  private clicked(e: MouseEvent) {
    const number = Number((e.target as HTMLElement).dataset.no)
    if (!number) return
    const [from, to] = e.shiftKey && this.selected ? this.selected : [number, number]
    this.selected = [Math.min(from, number), Math.max(to, number)]
    this.onSelect(...this.selected)
    this.redraw()
  }
}

function element(name: string, text: string): HTMLElement {
  const e = document.createElement('span')
  if (name) e.className = name
  e.textContent = text
  return e
}
