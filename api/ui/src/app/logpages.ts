// The output of one attempt, of which the node gives the lines that are looked at.
// What is written meanwhile comes as a stream, and continues at the next node at the
// same byte.
import { Refused, ask, json, leave, nodes } from './api'
import { most as longest } from './ansi'
import { seconds } from './format'
import { Groups } from './loggroups'
import { follow, sizeOf, type Piece } from './logstream'
import type { Found, Line, Query, Source } from './logview'

const chunk = 500 // lines in one answer
const kept = 64 // chunks in memory
const keptText = 8_000_000 // characters in memory
const atOnce = 3 // calls for lines that are under way

interface Chunk { lines: (Line | undefined)[]; size: number; asked?: boolean }

export class LogPages implements Source {
  count = 0
  attempt: number
  ended = false
  ready = false
  failed = ''
  groups = new Groups()
  onChange = () => {}

  private chunks = new Map<number, Chunk>() // those used last come last
  private size = 0 // characters in chunks
  private calls = 0
  private next = -1 // the chunk to ask for when a call has ended
  private offset = 0 // bytes that are known of
  private open = false // the last line has no end yet
  private stop = new AbortController()

  constructor(private run: string, private module: string, private given?: number) {
    this.attempt = given ?? 0
    this.read()
  }

  close() {
    this.stop.abort()
  }

  get(number: number): Line | undefined {
    const i = Math.floor((number - 1) / chunk)
    const c = this.chunks.get(i)
    const line = c?.lines[(number - 1) % chunk]
    if (c && line) {
      this.chunks.delete(i)
      this.chunks.set(i, c)
    } else if (this.attempt > 0) {
      this.load(i)
    }
    return line
  }

  async whole(number: number): Promise<string> {
    const answer = await ask(this.path({ line: number, count: 1 }), { wait: 10000, signal: this.stop.signal })
    return (await answer.text()).replace(/\n$/, '')
  }

  async all(): Promise<Blob> {
    return (await ask(this.path({}), { wait: 600000, signal: this.stop.signal })).blob()
  }

  async find(q: Query, from = 1): Promise<Found> {
    const options = { ...(q.exact ? { case: 1 } : {}), ...(q.regexp ? { regexp: 1 } : {}), ...(from > 1 ? { from } : {}) }
    const answer = await json<{ matches: { line: number }[]; next: number; total: number; complete: boolean }>(this.path({ search: q.text, limit: 2000, ...options }), { wait: 7000, signal: this.stop.signal })
    return { ...answer, lines: answer.matches.map((m) => m.line) }
  }

  private path(parameters: Record<string, string | number>): string {
    const query = new URLSearchParams({ module: this.module })
    const attempt = this.given || this.attempt
    if (attempt) query.set('attempt', String(attempt))
    for (const [name, value] of Object.entries(parameters)) query.set(name, String(value))
    return `/api/v1/runs/${encodeURIComponent(this.run)}/modules/logs?${query}`
  }

  // read shows the end, and then follows what is added to it.
  private async read() {
    await this.again(async () => {
      const answer = await this.lines(-chunk)
      this.ended = answer.headers.get('X-Pipelined-Final') === 'true' && this.attempt > 0
      this.ready = true
    })
    this.onChange()
    if (this.count > 0) this.again(() => this.groups.read((q, from) => this.find(q, from)).then(() => this.onChange()))
    await this.again(() => this.follow())
  }

  // again repeats what fails, at the next node.
  private async again(what: () => Promise<void>) {
    for (let failures = 0; !this.stop.signal.aborted; failures++) {
      const origin = nodes.value[0]
      try {
        await what()
        return
      } catch (e) {
        if (this.stop.signal.aborted) return
        this.failed = e instanceof Error ? e.message : String(e)
        this.onChange()
        if (e instanceof Refused && e.status < 500 && e.status !== 429) return
        if (failures > 0) leave(origin)
        await new Promise((r) => setTimeout(r, Math.min(5000, 100 * 2 ** failures)))
      }
    }
  }

  // lines asks for lines from one on, and puts them where they belong.
  private async lines(from: number, count = chunk): Promise<Response> {
    const answer = await ask(this.path({ line: from, count, timestamps: 1 }), { wait: 10000, signal: this.stop.signal })
    const text = await answer.text()
    const said = (name: string) => Number(answer.headers.get('X-Pipelined-' + name))
    this.failed = ''
    if (said('Attempt') !== this.attempt) {
      if (this.attempt) return answer // of an attempt that is not shown any more
      this.attempt = said('Attempt')
    }
    const lines = text.split('\n')
    const unended = lines.pop()!
    if (unended) lines.push(unended)
    const first = said('Line')
    lines.forEach((text, i) => this.put(first + i, stamped(text)))
    if (said('Size') > this.offset) {
      this.offset = said('Size')
      this.count = said('Lines')
      this.open = first + lines.length - 1 === this.count && unended !== ''
    }
    return answer
  }

  private put(number: number, line: Line) {
    const i = Math.floor((number - 1) / chunk)
    let c = this.chunks.get(i)
    if (!c) this.chunks.set(i, (c = { lines: [], size: 0 }))
    const at = (number - 1) % chunk
    const grown = line.text.length - (c.lines[at]?.text.length ?? 0)
    c.lines[at] = line
    c.size += grown
    this.size += grown
    this.forget(i)
  }

  // forget drops the chunks that were used longest ago, but never the one that grows.
  private forget(but: number) {
    for (const [i, c] of this.chunks) {
      if (this.chunks.size <= kept && this.size <= keptText) return
      if (i === but || i === Math.floor((this.count - 1) / chunk)) continue
      this.chunks.delete(i)
      this.size -= c.size
    }
  }

  // load asks for a chunk. While many are wanted, as during a scroll, the last one is
  // asked for next.
  private load(i: number) {
    const c = this.chunks.get(i)
    if (c?.asked) return
    if (this.calls >= atOnce) {
      this.next = i
      return
    }
    const asked = c ?? { lines: [], size: 0 }
    asked.asked = true
    this.chunks.set(i, asked)
    this.calls++
    // An answer may end early, at lines that are very long.
    const missing = Array.from({ length: chunk }, (_, k) => k).find((k) => !asked.lines[k]) ?? 0
    const first = i * chunk + 1 + missing
    this.again(() => this.lines(first, chunk - missing).then(() => {})).finally(() => {
      asked.asked = false
      this.calls--
      if (this.next >= 0) this.load(this.next)
      this.next = -1
      this.onChange()
    })
  }

  private async follow() {
    while (!this.ended && !this.stop.signal.aborted) {
      const positions = this.attempt ? { [this.module]: { attempt: this.attempt, offset: this.offset } } : undefined
      const opened = () => (this.failed = '')
      const take = (p: Piece) => (this.take(p), this.ended)
      if (await follow(this.run, { modules: [this.module], positions }, this.stop.signal, opened, take)) this.ended = true
      this.onChange()
    }
  }

  private take(p: Piece) {
    if (p.module !== this.module) return
    if (this.given && p.attempt > this.given) {
      this.ended = true
      return
    }
    if (p.attempt > this.attempt) {
      // A new attempt begins a new output.
      this.attempt = p.attempt
      this.chunks.clear()
      this.groups = new Groups()
      this.count = this.size = this.offset = 0
      this.open = false
    }
    const text = p.text ?? ''
    const bytes = sizeOf(p)
    if (p.offset + bytes <= this.offset && bytes > 0) return
    this.offset = p.offset + bytes
    const time = p.time ? seconds(p.time) : undefined
    const parts = text.split('\n')
    const unended = parts.pop()!
    for (const part of parts) {
      this.append(part, time)
      this.open = false
    }
    if (unended) this.append(unended, time)
    if (p.end && this.given) this.ended = true
    this.onChange()
  }

  private append(text: string, time?: number) {
    if (!this.open) this.count++
    const had = this.open ? this.get(this.count) : undefined
    if (!this.open || had) this.put(this.count, limited((had?.text ?? '') + text, had?.time ?? time, had?.more))
    if (!this.open) this.groups.line(this.count, text)
    this.open = true
  }
}

// stamped reads a line after its time.
function stamped(text: string): Line {
  const space = text.indexOf(' ')
  const time = seconds(text.slice(0, space))
  return limited(text.slice(space + 1), time > 0 ? time : undefined)
}

function limited(text: string, time?: number, more = 0): Line {
  // What a carriage return overwrites is not shown.
  if (text.length > longest) text = text.slice(text.lastIndexOf('\r', text.length - 2) + 1)
  if (text.length <= longest) return more ? { text, time, more } : { text, time }
  // A copy: a slice would keep the whole text alive.
  const short = JSON.parse(JSON.stringify(text.slice(0, longest))) as string
  return { text: short, time, more: more + text.length - longest }
}
