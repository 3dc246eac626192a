// What happened in the cluster: elections with their gap, losses, drains, tokens.
import { signal } from '@preact/signals'
import { json } from './api'
import { clock, coarse, duration, seconds } from './format'
import { Shape, type Kind } from './icons'
import { every } from './parts'
import { place, withQuery } from './route'
import { now } from './store'

interface Event {
  id: string
  name: string
  time: string
  text: string
  run?: string
  number?: number
  module?: string
  node?: string
  reason?: string
  data?: { term?: number; gapMs?: number; previous?: string; count?: number }
}

const events = signal<Event[] | null>(null)
export const takeovers = signal<Event[]>([])

// What one looks at: kinds of events by the first part of their names.
const views: [string, string, string[]][] = [
  ['', 'Nodes', ['leader', 'node', 'worker']],
  ['runs', 'Runs', ['run', 'approval', 'schedule']],
  ['audit', 'Audit', ['token', 'secret', 'approval', 'node.draining', 'node.undrained', 'schedule', 'webhook']],
]

const bad = new Set(['node.lost', 'data.damaged'])
const odd = new Set(['leader.changed', 'node.draining', 'token.revoked', 'secret.removed', 'approval.asked', 'schedule.paused', 'schedule.skipped', 'run.cancelling', 'attempt.finished'])
const kindOf = (e: Event): Kind => (bad.has(e.name) ? 'bad' : odd.has(e.name) ? 'odd' : 'ok')

export function useEvents() {
  const view = views.find(([name]) => name === (place.value.query.get('events') ?? '')) ?? views[0]
  const types = view[2].map((t) => '&type=' + t).join('')
  every(3000, () => json<{ events: Event[] }>('/api/v1/events?limit=60' + types).then((a) => (events.value = a.events)), types)
  every(10000, () => json<{ events: Event[] }>('/api/v1/events?limit=50&type=leader.changed').then((a) => (takeovers.value = a.events.filter((e) => e.data?.previous))))
}

// lastTakeover is the value and the note of a figure.
export function lastTakeover(): [string, string] {
  const e = takeovers.value.at(-1)
  if (!e) return ['none', 'no leader was replaced']
  return [e.data?.gapMs ? duration(e.data.gapMs / 1000) : 'not measured', `${e.node} for ${e.data?.previous}, ${coarse(now.value - seconds(e.time))} ago`]
}

export function Events() {
  const list = events.value
  const chosen = place.value.query.get('events') ?? ''
  return (
    <section class="card events" aria-label="Events">
      <div class="cardh">
        <h2>Events</h2>
        <span class="grow" />
        <nav class="seg" aria-label="Which events">
          {views.map(([name, text]) => (
            <a key={name} href={withQuery({ events: name })} aria-current={chosen === name ? 'true' : undefined}>
              {text}
            </a>
          ))}
        </nav>
      </div>
      {list === null ? (
        <p class="none">Asking the cluster</p>
      ) : list.length === 0 ? (
        <p class="none">Nothing of this kind has happened yet.</p>
      ) : (
        <ol tabIndex={0} aria-label="Events, the newest first">
          {[...list].reverse().map((e) => (
            <li key={e.id}>
              <time dateTime={e.time} title={new Date(e.time).toLocaleString()}>
                {clock(e.time)}
              </time>
              <Shape kind={kindOf(e)} />
              <div>
                {e.number ? <a href={`/runs/${e.number}${e.module ? '?m=' + encodeURIComponent(e.module) : ''}`}>{e.text}</a> : <b>{e.text}</b>}
                {e.reason && !e.text.includes(e.reason) && <small>{e.reason}</small>}
              </div>
            </li>
          ))}
        </ol>
      )}
    </section>
  )
}
