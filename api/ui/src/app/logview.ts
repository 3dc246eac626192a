// A view of many lines of which only those in sight are elements. It is no
// component: it draws at most once a frame, and only rows that changed.
import { most, spans } from './ansi'
import { count } from './format'
import { Groups, ending, heading, type Group } from './loggroups'

export interface Line { text: string; time?: number; module?: string; more?: number }

export interface Query { text: string; exact?: boolean; regexp?: boolean }

// Found are lines that match; next is where more of them are, 0 if nowhere.
export interface Found { lines: number[]; next: number; total: number; complete: boolean }

// Source is where the view takes lines from; their numbers are from 1.
export interface Source {
  readonly count: number
  readonly attempt: number
  readonly ended: boolean
  readonly ready: boolean // what count says is known
  readonly failed: string
  readonly groups: Groups
  onChange: () => void
  // get gives a line, or asks for it: onChange says when it is there.
  get(number: number): Line | undefined
  // whole is a line of which get gives the beginning.
  whole(number: number): Promise<string>
  all(): Promise<Blob>
  find(query: Query, from?: number): Promise<Found>
  close(): void
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
  onMore = (_number: number) => {}
  onScroll = () => {}

  private top = 0 // the first row in sight, with a fraction
  private closed: Group[] = [] // groups that are folded
  private listed: Group[] = []
  private rows: HTMLElement[] = []
  private drawn: string[] = []
  private space = document.createElement('div')
  private sight = document.createElement('div')
  private frame = 0
  private own = false // the next scroll event is ours
  private resized = new ResizeObserver(() => this.update())

  constructor(private box: HTMLElement, private source: Source) {
    this.space.className = 'space'
    this.sight.className = 'sight'
    box.replaceChildren(this.sight, this.space)
    box.addEventListener('scroll', () => this.scrolled())
    box.addEventListener('wheel', (e) => this.wheel(e), { passive: false })
    box.addEventListener('keydown', (e) => this.keyed(e))
    this.sight.addEventListener('click', (e) => this.clicked(e))
    this.resized.observe(box)
  }

  close() {
    this.resized.disconnect()
    cancelAnimationFrame(this.frame)
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
    this.source.groups.unfold(number)
    this.fold()
    this.place(this.rowOf(number) - this.sightRows() / 2)
    this.update()
  }

  setFollow(on: boolean) {
    if (this.follows !== on) {
      this.follows = on
      this.onFollow(on)
    }
    if (on) this.update()
  }

  // first is the number of the first line in sight.
  get first(): number {
    return this.lineOf(Math.floor(this.top))
  }

  private get count(): number {
    return this.source.count - this.closed.reduce((n, g) => n + this.hidden(g), 0)
  }

  private hidden = (g: Group) => Math.max(0, Math.min(g.to, this.source.count) - g.from)

  // lineOf is the number of the line in a row, rowOf the row of a line; both count from
  // the first row, 0.
  private lineOf(row: number): number {
    let number = row + 1
    for (const g of this.closed) {
      if (g.from >= number) break
      number += this.hidden(g)
    }
    return number
  }

  private rowOf(number: number): number {
    let row = number - 1
    for (const g of this.closed) {
      if (g.from >= number) break
      row -= Math.min(this.hidden(g), number - g.from)
    }
    return row
  }

  private fold() {
    if (this.listed === this.source.groups.list) return
    const first = this.first
    this.listed = this.source.groups.list
    this.closed = this.listed.filter((g) => g.closed && g.to > g.from)
    this.drawn = []
    if (!this.follows) {
      this.size()
      this.place(this.rowOf(first) + (this.top % 1))
    }
  }

  private sightRows = () => Math.max(1, this.box.clientHeight / rowHeight)
  private last = () => Math.max(0, this.count - Math.floor(this.sightRows()))
  private range = () => this.box.scrollHeight - this.box.clientHeight

  private scrolled() {
    this.onScroll()
    if (this.own) {
      this.own = false
      return
    }
    const max = this.range()
    this.top = max > 0 ? (this.box.scrollTop / max) * this.last() : 0
    this.setFollow(this.top >= this.last() - 0.6)
    this.update()
  }

  // move scrolls by rows, whatever a pixel of the scroll bar stands for.
  private move(rows: number) {
    this.place(this.top + rows)
    this.setFollow(this.top >= this.last() - 0.6)
    this.update()
  }

  private wheel(e: WheelEvent) {
    if (e.ctrlKey || e.shiftKey || this.count * rowHeight <= tallest || Math.abs(e.deltaX) > Math.abs(e.deltaY)) return
    e.preventDefault()
    this.move(e.deltaMode === 1 ? e.deltaY : e.deltaY / rowHeight)
  }

  private keyed(e: KeyboardEvent) {
    if (e.target !== this.box || e.ctrlKey || e.metaKey || e.altKey) return
    const page = Math.max(1, Math.floor(this.sightRows()) - 1)
    const by: Record<string, number> = { PageUp: -page, PageDown: page, ArrowUp: -1, ArrowDown: 1, Home: -this.count, End: this.count }
    if (!(e.key in by)) return
    e.preventDefault()
    this.move(by[e.key])
  }

  private size() {
    this.space.style.height = Math.min(tallest, this.count * rowHeight) + 'px'
  }

  private place(top: number) {
    this.top = Math.max(0, Math.min(this.last(), top))
    const max = this.range()
    const y = this.last() > 0 ? (this.top / this.last()) * max : 0
    if (Math.abs(y - this.box.scrollTop) >= 1) {
      this.own = true
      this.box.scrollTop = y
    }
  }

  private draw() {
    this.fold()
    this.size()
    if (this.follows) this.place(this.last())
    const first = Math.floor(this.top)
    const n = Math.ceil(this.sightRows()) + 1
    this.sight.style.transform = `translateY(${-Math.round((this.top - first) * rowHeight)}px)`

    while (this.rows.length < n) {
      const row = document.createElement('div')
      row.className = 'line'
      this.sight.append(row)
      this.rows.push(row)
    }
    const count = this.count
    this.box.style.setProperty('--digits', String(Math.max(3, String(this.source.count).length)))
    this.rows.forEach((row, i) => {
      const there = i < n && first + i < count
      const number = there ? this.lineOf(first + i) : 0
      const line = there ? this.source.get(number) : undefined
      const key = line ? `${number} ${line.text.length} ${line.more ?? ''} ${line.time ?? ''} ${line.text.slice(-16)}` : there ? `${number}` : ''
      if (this.drawn[i] === key) return
      this.drawn[i] = key
      if (there) this.fill(row, number, line)
      else row.replaceChildren()
    })
  }

  private fill(row: HTMLElement, number: number, line: Line | undefined) {
    const gutter = document.createElement('span')
    gutter.className = 'no'
    gutter.dataset.no = String(number)
    const parts: HTMLElement[] = [gutter]
    const [from, to] = this.selected ?? [0, -1]
    row.classList.toggle('hl', number >= from && number <= to)
    if (!line) {
      row.replaceChildren(gutter)
      return
    }
    if (this.times !== 'none') parts.push(element('time', this.time(line)))
    if (line.module !== undefined) parts.push(element('of', line.module))

    const group = this.listed.find((g) => g.from === number)
    if (group) parts.push(this.heading(group, line))
    else if (!ending(line.text)) parts.push(...this.text(line, number))
    row.replaceChildren(...parts)
  }

  private text(line: Line, number: number): HTMLElement[] {
    const text = element('text', '')
    const [shown, more] = line.text.length > most ? [line.text.slice(0, most), line.text.length - most] : [line.text, line.more]
    for (const s of spans(shown)) {
      const span = this.mark(s.text, s.href)
      if (s.classes) span.className = s.classes
      if (s.colour) span.style.color = s.colour
      if (s.background) span.style.background = s.background
      text.append(span)
    }
    if (!more) return [text]
    const button = document.createElement('button')
    button.className = 'more'
    button.textContent = `${more.toLocaleString('en')} more characters`
    button.onclick = () => this.onMore(number)
    return [text, button]
  }

  private heading(group: Group, line: Line): HTMLElement {
    const button = document.createElement('button')
    button.className = 'fold'
    button.ariaExpanded = String(!group.closed)
    button.append(...spans(heading(line.text)).map((s) => this.mark(s.text)))
    if (group.closed) button.append(element('folded', count(this.hidden(group), 'line')))
    button.onclick = () => {
      this.source.groups.turn(group.from)
      this.setFollow(false)
      this.update()
    }
    return button
  }

  // mark makes an element of a text, with what was searched for marked in it; href makes
  // it a link, whose title says where it leads.
  private mark(text: string, href?: string): HTMLElement {
    const span = href ? Object.assign(document.createElement('a'), { href, title: href, target: '_blank', rel: 'noopener noreferrer' }) : element('', '')
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
