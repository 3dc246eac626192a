// The output of all modules of a run, as it comes, through the end of the node that
// sends it, to the end. Of what was written before, each module's last lines come.
import { plain } from './ansi'
import { leave, nodes } from './api'
import { seconds } from './format'
import { Groups, begins, ending, heading } from './loggroups'
import { follow, sizeOf, type Piece } from './logstream'
import type { Found, Line, Query, Source } from './logview'

// most is how many lines are held; the oldest are dropped beyond it.
const most = 200_000

export class LogSource implements Source {
  readonly attempt = 0
  readonly groups = new Groups() // of one module only
  ended = false
  ready = false
  failed = ''
  onChange = () => {}

  private lines: Line[] = []
  private open = new Map<string, Line>() // lines without their end, by module
  private positions: Record<string, { attempt: number; offset: number; ended?: boolean }> = {}
  private sorted = true
  private stop = new AbortController()

  constructor(private run: string, private last: number) {
    this.read()
  }

  get count() {
    this.sort()
    return this.lines.length
  }

  get(number: number): Line | undefined {
    return this.lines[number - 1]
  }

  close() {
    this.stop.abort()
  }

  async find(q: Query): Promise<Found> {
    const want = q.exact ? q.text : q.text.toLowerCase()
    const expression = q.regexp ? new RegExp(q.text, q.exact ? '' : 'i') : undefined
    const has = (text: string) => (expression ? expression.test(text) : (q.exact ? text : text.toLowerCase()).includes(want))
    const lines: number[] = []
    this.lines.forEach((line, i) => {
      if (has(line.text.includes('\x1b') ? plain(line.text) : line.text)) lines.push(i + 1)
    })
    return { lines, next: 0, total: lines.length, complete: true }
  }

  async whole(number: number): Promise<string> {
    return this.lines[number - 1].text
  }

  async all(): Promise<Blob> {
    return new Blob(this.lines.map((line) => `${line.module} | ${line.text}\n`), { type: 'text/plain' })
  }

  // read follows until the end, and continues at the next node at the same byte.
  private async read() {
    let failures = 0
    while (!this.stop.signal.aborted && !this.ended) {
      const origin = nodes.value[0]
      try {
        const opened = () => {
          this.failed = ''
          this.ready = true
          this.onChange()
        }
        const take = (p: Piece) => {
          failures = 0
          this.take(p)
        }
        this.ended = await follow(this.run, { lines: this.last, positions: this.positions }, this.stop.signal, opened, take)
      } catch (e) {
        if (this.stop.signal.aborted) return
        this.failed = e instanceof Error ? e.message : String(e)
        if (++failures > 1) leave(origin)
      }
      this.onChange()
      if (!this.ended) await new Promise((r) => setTimeout(r, Math.min(5000, 100 * 2 ** failures)))
    }
  }

  private take(p: Piece) {
    const text = p.text ?? ''
    this.positions[p.module] = { attempt: p.attempt, offset: p.offset + sizeOf(p), ended: p.end }
    const time = p.time ? seconds(p.time) : undefined
    const parts = text.split('\n')
    const rest = parts.pop()!
    for (const part of parts) {
      this.append(p.module, part, time)
      this.complete(p.module)
    }
    if (rest) this.append(p.module, rest, time)
    if (p.end) this.open.delete(p.module)
    if (this.lines.length > most) this.lines.splice(0, this.lines.length - most + most / 10)
    this.onChange()
  }

  // complete takes a marker of a group out of a line: lines of many modules fold nowhere.
  private complete(module: string) {
    const line = this.open.get(module)!
    this.open.delete(module)
    const at = this.lines.lastIndexOf(line) // -1: so many lines came that it is held no more
    if (at >= 0 && ending(line.text)) this.lines.splice(at, 1)
    else if (begins(line.text)) line.text = heading(line.text)
  }

  private append(module: string, text: string, time?: number) {
    const open = this.open.get(module)
    if (open) {
      open.text += text
      return
    }
    const line: Line = { text, time, module }
    const before = this.lines.at(-1)?.time
    if (time && before && time < before) this.sorted = false
    this.lines.push(line)
    this.open.set(module, line)
  }

  // sort puts the lines of many modules into the order of their times.
  private sort() {
    if (this.sorted) return
    this.sorted = true
    this.lines.sort((a, b) => (a.time ?? 0) - (b.time ?? 0))
  }
}
