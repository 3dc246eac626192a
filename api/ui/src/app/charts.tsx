// Charts of what the page has seen: the load of a node, and how long commits take.
import { tookOver } from './events'
import { clock, coarse, count } from './format'
import { now } from './store'
import { commits, loadOf, pieces, sampled, span } from './samples'
import type { Event } from './types'

// Load is how many slots of a node were in use over the last minutes.
export function Load({ name, slots, tall }: { name: string; slots: number; tall?: boolean }) {
  void sampled.value
  const list = loadOf(name)
  const [w, h] = tall ? [600, 90] : [90, 26]
  const most = Math.max(slots, 1, ...list.map((s) => s.value))
  const x = (at: number) => w * (1 - (now.peek() - at) / span)
  const y = (v: number) => h - 1 - (v / most) * (h - 3)
  const seen = list.length ? now.peek() - list[0].at : 0
  const values = list.map((s) => s.value)
  const text = list.length ? `${Math.min(...values)} to ${count(Math.max(...values), 'slot')} of ${slots} in use over ${coarse(seen)}` : 'no figures yet'
  return (
    <svg class={'load' + (tall ? ' tall' : '')} viewBox={`0 0 ${w} ${h}`} preserveAspectRatio="none" role="img" aria-label={`${name}: ${text}`}>
      <title>{text}</title>
      <line x1="0" x2={w} y1={h - 1} y2={h - 1} class="zero" />
      {pieces(list, 20).map((piece) => {
        const line = piece.map((s) => `${x(s.at).toFixed(1)},${y(s.value).toFixed(1)}`).join(' ')
        const from = x(piece[0].at).toFixed(1)
        const to = x(piece.at(-1)!.at).toFixed(1)
        return [<polygon key={'a' + from} points={`${from},${h} ${line} ${to},${h}`} />, <polyline key={'l' + from} points={line} />]
      })}
    </svg>
  )
}

const scale = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000]

// Commits is how long entries took until they were committed, over the last minutes, with
// the takeovers.
export function Commits({ takeovers }: { takeovers: Event[] }) {
  const list = commits.value
  const last = list.at(-1)
  return (
    <section class="card commits" aria-label="Commit latency">
      <div class="cardh">
        <h2>Commit latency</h2> <small>ms, while this page is open</small>
        <span class="grow" />
        <span class="legend">
          <i class="run" /> median <i class="hit" /> 99 %
        </span>
      </div>
      {last ? <Latency takeovers={takeovers} /> : <p class="none">Nothing was committed in the last seconds.</p>}
      <p class="foot">{last ? `Half of the newest entries took at most ${ms(last.median)}, all but one in a hundred at most ${ms(last.p99)}.` : 'An entry is committed when a majority of the voters has it on disk.'}</p>
    </section>
  )
}

export const ms = (seconds: number) => `${+(seconds * 1000).toPrecision(2)} ms`

function Latency({ takeovers }: { takeovers: Event[] }) {
  const list = commits.value
  const [w, h, left, bottom] = [560, 170, 38, 20]
  const values = list.flatMap((s) => [s.median, s.p99]).map((s) => s * 1000)
  const low = scale.findLast((v) => v <= Math.min(...values)) ?? scale[0]
  const high = scale.find((v) => v >= Math.max(...values) && v > low * 4) ?? scale.at(-1)!
  const from = now.peek() - Math.max(60, Math.min(span, now.peek() - list[0].at))
  const x = (at: number) => left + ((w - left - 8) * (at - from)) / (now.peek() - from)
  const y = (value: number) => 8 + (h - bottom - 8) * (1 - Math.log(Math.min(high, Math.max(low, value)) / low) / Math.log(high / low))
  const lines = scale.filter((v) => v >= low && v <= high)
  const times = [0, 1 / 3, 2 / 3, 1].map((part) => from + part * (now.peek() - from))
  const marks = takeovers.map((e): [number, string] => [Date.parse(e.time) / 1000, tookOver(e)]).filter(([at]) => at >= from)
  const of = (pick: 'median' | 'p99') => pieces(list, 20).map((piece) => piece.map((s) => `${x(s.at).toFixed(1)},${y(s[pick] * 1000).toFixed(1)}`).join(' '))
  return (
    <svg class="latency" viewBox={`0 0 ${w} ${h}`} role="img" aria-label={`From ${clock(iso(from))} to now: median ${ms(list.at(-1)!.median)}, 99 % ${ms(list.at(-1)!.p99)}${marks.map(([, text]) => ', ' + text).join('')}`}>
      {(lines.length > 6 ? lines.filter((v) => /^0?\.?1/.test(String(v))) : lines).map((v) => (
        <g key={v}>
          <line x1={left} x2={w - 8} y1={y(v)} y2={y(v)} class="grid" />
          <text x={left - 6} y={y(v) + 4} class="end">{v}</text>
        </g>
      ))}
      {times.map((t, i) => (
        <text key={i} x={x(t)} y={h - 4} class={i === 0 ? 'begin' : i === 3 ? 'end' : ''}>{clock(iso(t)).slice(0, i === 3 || now.peek() - from > 300 ? 5 : 8)}</text>
      ))}
      {marks.map(([at, text]) => (
        <g key={at} class="mark">
          <line x1={x(at)} x2={x(at)} y1="4" y2={h - bottom} />
          <text x={x(at) + (x(at) < left + 110 ? 5 : -5)} y="13" class={x(at) < left + 110 ? 'begin' : 'end'}>{text}</text>
        </g>
      ))}
      {of('p99').map((points, i) => <polyline key={i} points={points} class="p99" />)}
      {of('median').map((points, i) => <polyline key={i} points={points} class="median" />)}
    </svg>
  )
}

const iso = (at: number) => new Date(at * 1000).toISOString()
