// Where on a timeline a moment is. Long times in which nothing happens are folded to a
// narrow strip, so that a night before an approval does not squash the rest.

const strip = 30 // pixels of a folded gap

export interface Gap { from: number; to: number; x: number }

export class TimeScale {
  readonly gaps: Gap[] = []
  private pieces: { from: number; to: number; x: number; width: number }[] = []

  // from and to bound what is shown, busy are the times in which something happens.
  constructor(from: number, to: number, busy: [number, number][], left: number, right: number) {
    const merged: [number, number][] = []
    for (const [a, b] of [...busy].sort((p, q) => p[0] - q[0])) {
      const last = merged.at(-1)
      if (last && a <= last[1]) last[1] = Math.max(last[1], b)
      else merged.push([a, b])
    }
    const idle: [number, number][] = []
    let end = from
    for (const [a, b] of [...merged, [to, to] as [number, number]]) {
      if (Math.min(a, to) > end) idle.push([end, Math.min(a, to)])
      end = Math.max(end, b)
    }
    const all = to - from
    const work = all - idle.reduce((n, [a, b]) => n + b - a, 0)
    const folded = idle.filter(([a, b]) => b - a > Math.max(20, 0.25 * work, 0.1 * all))
    const rest = all - folded.reduce((n, [a, b]) => n + b - a, 0)
    const perSecond = Math.max(1, right - left - folded.length * strip) / Math.max(0.001, rest)

    let [at, x] = [from, left]
    const piece = (until: number, width: number) => {
      this.pieces.push({ from: at, to: until, x, width })
      at = until
      x += width
    }
    for (const [a, b] of folded) {
      if (a > at) piece(a, (a - at) * perSecond)
      this.gaps.push({ from: a, to: b, x })
      piece(b, strip)
    }
    piece(Math.max(to, at + 0.001), (Math.max(to, at + 0.001) - at) * perSecond)
  }

  x(t: number): number {
    const p = this.pieces.find((p) => t <= p.to) ?? this.pieces.at(-1)!
    return p.x + ((t - p.from) / (p.to - p.from)) * p.width
  }

  time(x: number): number {
    const p = this.pieces.find((p) => x <= p.x + p.width) ?? this.pieces.at(-1)!
    return p.from + ((x - p.x) / p.width) * (p.to - p.from)
  }

  // ticks are round times after a start, at least some pixels from each other.
  ticks(start: number, room: number): number[] {
    const dense = this.pieces.find((p) => !this.gaps.some((g) => g.x === p.x)) ?? this.pieces[0]
    const step = niceStep((room * (dense.to - dense.from)) / Math.max(1, dense.width))
    const out: number[] = []
    for (const p of this.pieces) {
      if (this.gaps.some((g) => g.x === p.x)) continue
      for (let t = Math.ceil((p.from - start) / step - 0.001) * step; start + t <= p.to; t += step) out.push(start + t)
    }
    return out
  }
}

function niceStep(min: number): number {
  for (const s of [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200]) if (s >= min) return s
  return 86400 * Math.ceil(min / 86400)
}
