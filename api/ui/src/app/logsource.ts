// The output of a run or of one module, as it comes: from the first line, through
// the end of the node that sends it, to the end.
import { ask, events, leave, nodes, randomKey } from './api'
import { seconds } from './format'
import type { Line, Lines } from './logview'

// most is how many lines are held; the oldest are dropped beyond it.
const most = 200_000

interface Piece { module: string; attempt: number; offset: number; text?: string; raw?: string; time?: string; end?: boolean; state?: string }

export interface Selection { run: string; module?: string; attempt?: number }

export class LogSource implements Lines {
  attempt = 0
  ended = false
  dropped = 0
  failed = ''
  onChange = () => {}

  private lines: Line[] = []
  private open = new Map<string, Line>() // lines without their end, by module
  private positions: Record<string, { attempt: number; offset: number; ended?: boolean }> = {}
  private sorted = true
  private stop = new AbortController()

  constructor(private what: Selection) {
    if (what.module && what.attempt) this.positions[what.module] = { attempt: what.attempt, offset: 0 }
    this.attempt = what.attempt ?? 0
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

  // search gives the numbers of the lines that have a text.
  search(text: string, plain: (line: string) => string): number[] {
    const want = text.toLowerCase()
    const hits: number[] = []
    this.lines.forEach((line, i) => {
      if (line.text.toLowerCase().includes(want) || (line.text.includes('\x1b') && plain(line.text).toLowerCase().includes(want))) hits.push(i + 1)
    })
    return hits
  }

  // read follows until the end, and continues at the next node at the same byte.
  private async read() {
    let failures = 0
    while (!this.stop.signal.aborted && !this.ended) {
      const origin = nodes.value[0]
      try {
        const answer = await ask(`/api/v1/runs/${encodeURIComponent(this.what.run)}/logs`, {
          method: 'POST',
          headers: { 'X-Request-Id': randomKey() },
          body: { follow: true, times: true, modules: this.what.module ? [this.what.module] : undefined, positions: this.positions },
          signal: this.stop.signal,
        })
        this.failed = ''
        for await (const e of events(answer, 15000)) {
          failures = 0
          if (e.event === 'run-end') this.ended = true
          if (e.event === 'bye') leave(origin)
          if (e.event === 'error') throw new Error((JSON.parse(e.data) as { detail?: string }).detail)
          if (e.event === 'log' || e.event === 'end') this.take(JSON.parse(e.data) as Piece)
          if (this.ended) break
        }
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
    if (this.what.module) {
      if (this.what.attempt && p.attempt > this.what.attempt) {
        this.ended = true
        return
      }
      if (p.attempt > this.attempt) {
        // A new attempt begins a new output.
        this.lines = []
        this.open.clear()
        this.dropped = 0
        this.attempt = p.attempt
      }
    }

    const text = p.text ?? ''
    // Bytes that are no UTF-8 come a second time, as they are.
    const size = p.raw ? atob(p.raw).length : new TextEncoder().encode(text).length
    this.positions[p.module] = { attempt: p.attempt, offset: p.offset + size, ended: p.end }
    const time = p.time ? seconds(p.time) : undefined
    const parts = text.split('\n')
    const rest = parts.pop()!
    for (const part of parts) {
      this.append(p.module, part, time)
      this.open.delete(p.module)
    }
    if (rest) this.append(p.module, rest, time)
    if (p.end) {
      this.open.delete(p.module)
      if (this.what.attempt) this.ended = true
    }

    if (this.lines.length > most) {
      const drop = this.lines.length - most + most / 10
      this.lines.splice(0, drop)
      this.dropped += drop
    }
    this.onChange()
  }

  private append(module: string, text: string, time?: number) {
    const open = this.open.get(module)
    if (open) {
      open.text += text
      return
    }
    const line: Line = { text, time }
    if (!this.what.module) line.module = module
    const before = this.lines.at(-1)?.time
    if (!this.what.module && time && before && time < before) this.sorted = false
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
