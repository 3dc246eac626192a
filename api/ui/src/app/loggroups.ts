// Groups of lines that fold, after the markers of CI systems: ::group:: and
// ::endgroup::, section_start and section_end, and lines that begin with ---.
import type { Found, Query } from './logview'

const pen = String.raw`(?:\x1b\[[0-9;]*[A-Za-z])*`
const beginnings = '^' + pen + '(?:::group::|section_start:)'
const ends = '^' + pen + '(?:::endgroup::|section_end:)'
// Not the heads of a difference, and not what go test says of a test.
const headings = '^' + pen + '--- (?:[^a/A-Z]|a[^/]|[A-Z][^A-Z])'

const isBegin = new RegExp(beginnings)
const isEnd = new RegExp(ends)
const isHeading = new RegExp(headings)
const marker = new RegExp('^' + pen + '(?:::group::|section_start:|--- )')

export interface Group { from: number; to: number; closed: boolean }

export class Groups {
  list: Group[] = []

  private begins: number[] = []
  private ends: number[] = []
  private headings: number[] = []
  private turned = new Map<number, boolean>() // by a person

  // read asks where the markers are.
  async read(find: (q: Query, from: number) => Promise<Found>) {
    const all = async (pattern: string, into: number[]) => {
      const found = await find({ text: pattern, regexp: true, exact: true }, 1)
      into.unshift(...found.lines.filter((n) => n < (into[0] ?? Infinity)))
      return found.lines.length
    }
    if ((await all(beginnings, this.begins)) > 0) await all(ends, this.ends)
    else await all(headings, this.headings)
    this.arrange()
  }

  // line looks at a line that was written just now.
  line(number: number, text: string) {
    if (!/::(?:end)?group::|section_(?:start|end):|--- /.test(text.slice(0, 60))) return
    if (isBegin.test(text)) this.begins.push(number)
    else if (isEnd.test(text)) this.ends.push(number)
    else if (isHeading.test(text)) this.headings.push(number)
    this.arrange()
  }

  turn(from: number, closed?: boolean) {
    const g = this.list.find((g) => g.from === from)
    if (!g) return
    this.turned.set(from, closed ?? !g.closed)
    this.arrange()
  }

  turnAll(closed: boolean) {
    for (const g of this.list) this.turned.set(g.from, closed)
    this.arrange()
  }

  // unfold opens the group that a line is in.
  unfold(number: number) {
    const g = this.list.find((g) => g.from < number && number <= g.to)
    if (g?.closed) this.turn(g.from, false)
  }

  // arrange makes groups of the markers. One ends at its end, or before the next; one that
  // lasts to the end of the output stays open, as it has how that ended.
  private arrange() {
    const list: Group[] = []
    const heads = this.begins.length > 0 ? this.begins : this.headings
    let e = 0
    heads.forEach((from, i) => {
      const next = heads[i + 1] ?? Infinity
      while (this.ends[e] < from) e++
      const to = this.begins.length > 0 && this.ends[e] < next ? this.ends[e] : next - 1
      list.push({ from, to, closed: this.turned.get(from) ?? to < Infinity })
    })
    if (list.length > 0 || this.list.length > 0) this.list = list
  }
}

export const begins = (text: string) => isBegin.test(text)
export const ending = (text: string) => isEnd.test(text)

// heading is the name in a marker.
export function heading(text: string): string {
  const m = marker.exec(text)
  if (!m) return text
  const rest = text.slice(m[0].length)
  return m[0].endsWith('section_start:') ? rest.slice(rest.indexOf('\r') + 1) : rest
}
