// The events of a run, and those of the cluster that happened while it ran.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { json, seen } from './api'
import { gapText, kindOf } from './events'
import { clock, count, seconds } from './format'
import { Shape } from './icons'
import { Blank, Command, cli } from './parts'
import { withQuery } from './route'
import { runPath } from './run'
import { final, ref } from './store'
import { takeovers } from './timelinecard'
import type { Event, EventList, RunSummary } from './types'

const events = signal<Event[] | null>(null)
const deleted = signal(false)

const most = 1000

// useRunEvents keeps the events of a run, and of the cluster's nodes, while it is shown.
function useRunEvents(r: RunSummary) {
  useEffect(() => {
    const stop = new AbortController()
    events.value = null
    takeovers.value = []
    const add = (list: Event[]) => {
      const known = new Set((events.value ?? []).map((e) => e.id))
      const next = [...(events.value ?? []), ...list.filter((e) => !known.has(e.id))].sort((a, b) => a.index - b.index || (a.id < b.id ? -1 : 1))
      events.value = next
      takeovers.value = next
        .filter((e) => e.name === 'leader.changed')
        .map((e) => ({ at: seconds(e.time), text: [`${e.node} took over`, gapText(e)].filter(Boolean).join(', '), previous: e.data?.previous }))
    }
    const ask = (query: string) => json<EventList>('/api/v1/events?' + query, { signal: stop.signal, wait: 30000 })
    const cluster = 'type=leader&type=node'
    const read = async () => {
      const own = await ask(`run=${r.id}&limit=${most}`)
      const around = await ask(`${cluster}&limit=200`)
      const [from, to] = [seconds(r.submittedAt) - 1, final(r.state) ? seconds(r.finishedAt) + 1 : Infinity]
      deleted.value = own.events[0]?.name !== 'run.queued'
      add([...own.events, ...around.events.filter((e) => seconds(e.time) >= from && seconds(e.time) <= to)])
      return Math.max(own.index, around.index)
    }
    const loop = async () => {
      let since = 0
      for (let failures = 0; !stop.signal.aborted; ) {
        try {
          if (!since) since = await read()
          if (final(r.state)) return
          while (document.hidden && !stop.signal.aborted) await seen(60000)
          const answer = await ask(`since=${since}&limit=${most}&wait=25`)
          since = answer.index
          add(answer.events.filter((e) => e.run === r.id || (!e.run && /^(?:leader|node)\./.test(e.name))))
          failures = 0
        } catch {
          await new Promise((done) => setTimeout(done, Math.min(5000, 200 * 2 ** failures++)))
        }
      }
    }
    loop()
    return () => stop.abort()
  }, [r.id, final(r.state)])
}

// TakeoverNotice says which node leads, and since when, if another one led when the run
// began. It asks for the events of the run, which the timeline and their own view show.
export function TakeoverNotice({ r }: { r: RunSummary }) {
  useRunEvents(r)
  const last = events.value?.findLast((e) => e.name === 'leader.changed' && e.data?.previous)
  if (!last || final(r.state)) return null
  return (
    <p class="notice s-odd">
      <b>{`${last.node} took over at ${clock(last.time)}`}</b>
      <span>{last.text}</span>
      <a href={`/runs/${ref(r)}/events`}>what happened</a>
    </p>
  )
}

export function EventsTab({ r }: { r: RunSummary }) {
  const list = events.value
  return (
    <div class="scroll">
      <section class="card" aria-label="Events">
        <h2 class="cardh">
          Events <small>{list ? count(list.length, 'event') : ''}</small>
        </h2>
        {list && deleted.value && list.length > 0 && <p class="warning">Older events of this run are no longer kept.</p>}
        {!list ? (
          <Blank title="Asking the cluster" />
        ) : list.length === 0 ? (
          <Blank title="No events">
            <p>The events of this run are no longer kept.</p>
          </Blank>
        ) : (
          <ul class="why events">
            {list.map((e) => (
              <li key={e.id}>
                <time dateTime={e.time} title={e.time}>
                  {clock(e.time)}
                </time>
                <Shape kind={kindOf(e)} />
                <div>
                  <p>{e.text}</p>
                </div>
                <span class="grow" />
                <small>{e.module ? <a href={withQuery({ m: e.module, a: e.attempt ? String(e.attempt) : null }, `/runs/${ref(r)}`)}>{e.module}</a> : e.name}</small>
              </li>
            ))}
          </ul>
        )}
      </section>
      <Command text={cli('events', '-run', ref(r))} />
    </div>
  )
}
