// What happened in the cluster: elections with their gap, losses, drains, tokens.
import { signal } from '@preact/signals'
import { json } from './api'
import { clock, coarse, duration, seconds } from './format'
import { Shape, ofRun, type Kind } from './icons'
import { Choice, every } from './parts'
import { place, runLink } from './route'
import { now } from './store'
import type { Event, EventList, RunState } from './types'

const events = signal<Event[] | null>(null)
export const takeovers = signal<Event[]>([])

// What one looks at: kinds of events by the first part of their names.
const views: [string, string, string[]][] = [
  ['', 'Nodes', ['leader', 'node', 'worker', 'data']],
  ['runs', 'Runs', ['run', 'approval', 'schedule']],
  ['audit', 'Audit', ['token', 'secret', 'approval', 'node.draining', 'node.undrained', 'schedule', 'webhook']],
]

const odd = new Set(['leader.changed', 'node.draining', 'token.revoked', 'secret.removed', 'schedule.paused', 'schedule.skipped', 'run.cancelling', 'webhook.off'])

// kindOf is how an event looks.
export function kindOf(e: Event): Kind {
  const state = e.data?.state ?? ''
  if (e.name === 'run.finished') return ofRun(state as RunState)[0]
  if (e.name === 'node.lost' || e.name === 'data.damaged' || /^(?:failed|timed_out|rejected)$/.test(state)) return 'bad'
  if (state === 'lost' || odd.has(e.name)) return 'odd'
  if (state === 'skipped') return 'skip'
  if (e.name === 'approval.asked') return 'ask'
  if (e.name === 'run.queued') return 'wait'
  return /^(?:run|attempt)\./.test(e.name) || e.name === 'module.reopened' ? 'run' : 'ok'
}

// gapText is how long no node led before an election, in the words of the events; '' if
// that is not known.
export function gapText(e: Event): string {
  const ms = e.data?.gapMs
  return !ms ? '' : ms < 10000 ? `${Math.max(1, Math.floor(ms))} ms` : duration(ms / 1000)
}

// tookOver says which node was elected: another one, or again the one that led before.
export const tookOver = (e: Event) => (e.node === e.data?.previous ? `${e.node} leads again` : `${e.node} took over`)

export function useEvents() {
  const view = views.find(([name]) => name === (place.value.query.get('events') ?? '')) ?? views[0]
  const types = view[2].map((t) => '&type=' + t).join('')
  every(3000, () => json<EventList>('/api/v1/events?limit=60' + types).then((a) => (events.value = a.events)), types)
  every(10000, () => json<EventList>('/api/v1/events?limit=50&type=leader.changed').then((a) => (takeovers.value = a.events.filter((e) => e.data?.previous))))
}

// lastTakeover is the value and the note of a figure.
export function lastTakeover(): [string, string] {
  const e = takeovers.value.at(-1)
  if (!e) return ['none', 'no leader was replaced']
  return [gapText(e) || 'not measured', `${tookOver(e)}, ${coarse(now.value - seconds(e.time))} ago`]
}

export function Events() {
  const list = events.value
  return (
    <section class="card events" aria-label="Events">
      <div class="cardh">
        <h2>Events</h2>
        <span class="grow" />
        <Choice label="Which events" name="events" list={views.map(([name, text]) => [name, text])} chosen={place.value.query.get('events') ?? ''} />
      </div>
      <EventRows list={list} />
    </section>
  )
}

// EventRows are events, the newest first.
export function EventRows({ list }: { list: Event[] | null }) {
  if (list === null) return <p class="none">Asking the cluster</p>
  if (list.length === 0) return <p class="none">Nothing of this kind has happened yet.</p>
  return (
    <ol tabIndex={0} aria-label="Events, the newest first">
      {[...list].reverse().map((e) => (
        <li key={e.id}>
          <time dateTime={e.time} title={new Date(e.time).toLocaleString()}>
            {clock(e.time)}
          </time>
          <Shape kind={kindOf(e)} />
          <div>
            {e.number ? <a href={runLink(e.number, e.module)}>{e.text}</a> : <b>{e.text}</b>}
            {e.reason && !e.text.includes(e.reason) && <small>{e.reason}</small>}
          </div>
        </li>
      ))}
    </ol>
  )
}
