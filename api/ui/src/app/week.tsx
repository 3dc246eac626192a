// The week ahead: a row for each schedule, a column for each day, a mark for each tick
// as long as its run is expected to take.
import { signal } from '@preact/signals'
import { json } from './api'
import { count, duration, pad, seconds } from './format'
import { Choice, every, times } from './parts'
import { pipelineLink, place } from './route'
import { now } from './store'

interface Planned { name: string; timezone: string; paused: boolean; upcoming?: string[]; upcomingUntil?: string }

const usual = signal(new Map<string, number>())

const day = 86400
const names = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

// midnight is the begin of the day of a time, in the browser's zone or in UTC.
function midnight(at: number, inUTC: boolean): number {
  const d = new Date(at * 1000)
  return (inUTC ? Date.UTC(d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate()) : new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime()) / 1000
}

function dayName(at: number, inUTC: boolean): string {
  const d = new Date(at * 1000)
  return inUTC ? `${names[d.getUTCDay()]} ${pad(d.getUTCDate())}` : `${names[d.getDay()]} ${pad(d.getDate())}`
}

function timeOf(t: string, inUTC: boolean): string {
  const d = new Date(t)
  return inUTC ? `${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}` : `${pad(d.getHours())}:${pad(d.getMinutes())}`
}

export function Week({ list }: { list: Planned[] }) {
  every(60000, () =>
    json<{ pipelines: { name: string; p50Seconds?: number }[] }>('/api/v1/pipelines').then((a) => (usual.value = new Map(a.pipelines.map((p) => [p.name, p.p50Seconds ?? 0])))),
  )
  const inUTC = place.value.query.get('zone') === 'utc'
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
  const first = midnight(now.value, inUTC)
  // Noon of each day and back: days on which clocks change have other lengths.
  const days = Array.from({ length: 8 }, (_, i) => midnight(first + i * day + day / 2, inUTC))
  const rows = list.filter((s) => !s.paused && s.upcoming?.length)
  const total = rows.reduce((n, s) => n + s.upcoming!.length, 0)
  const more = rows.some((s) => s.upcomingUntil)
  return (
    <section class="card week" aria-label="The week ahead">
      <div class="cardh">
        <h2>The week ahead</h2> <small>{`${more ? 'more than ' : ''}${count(total, 'tick')} in seven days, as long as their runs usually take`}</small>
        <span class="grow" />
        {zone !== 'UTC' && <Choice label="Zone of the days" name="zone" list={[['', zone], ['utc', 'UTC']]} chosen={inUTC ? 'utc' : ''} />}
      </div>
      {rows.length === 0 ? (
        <p class="none">Nothing is due in the next seven days.</p>
      ) : (
        <div class="wide">
          <table>
            <thead>
              <tr>
                <th scope="col">Pipeline</th>
                {days.slice(0, 7).map((d) => (
                  <th key={d} scope="col">
                    {dayName(d, inUTC)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((s) => (
                <tr key={s.name}>
                  <th scope="row" title={s.name}>
                    <a href={pipelineLink(s.name)}>{s.name}</a>
                    <small>{usual.value.get(s.name) ? `about ${duration(usual.value.get(s.name)!)}` : ''}</small>
                    {s.upcomingUntil && <small title={`The list ends after ${count(s.upcoming!.length, 'tick')}.`}>{`shown until ${dayName(seconds(s.upcomingUntil), inUTC).slice(0, 3)} ${timeOf(s.upcomingUntil, inUTC)}`}</small>}
                  </th>
                  {days.slice(0, 7).map((d, i) => (
                    <Day key={d} s={s} from={d} to={days[i + 1]} inUTC={inUTC} />
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}

function Day({ s, from, to, inUTC }: { s: Planned; from: number; to: number; inUTC: boolean }) {
  const ticks = s.upcoming!.filter((t) => seconds(t) >= from && seconds(t) < to)
  const length = usual.value.get(s.name) ?? 0
  const clock = (t: string) => timeOf(t, inUTC)
  const until = s.upcomingUntil ? seconds(s.upcomingUntil) : Infinity
  if (until < from) {
    return (
      <td>
        <small class="muted">not shown</small>
      </td>
    )
  }
  const ends = until < to ? `, shown until ${clock(s.upcomingUntil!)}` : ''
  const few = ticks.length <= 3
  return (
    <td>
      <span class="ticks" role="img" aria-label={`${count(ticks.length, 'tick')}${ends}${ticks.length ? ': ' + ticks.slice(0, 6).map(clock).join(', ') : ''}`}>
        {ticks.map((t) => (
          <i key={t} style={{ left: `${((seconds(t) - from) / (to - from)) * 100}%`, width: `${Math.min(100, (length / (to - from)) * 100)}%` }} title={times(t, s.timezone)} />
        ))}
      </span>
      <small aria-hidden="true">{(few ? ticks.map(clock).join(' ') : `${ticks.length} ticks`)}</small>
    </td>
  )
}
