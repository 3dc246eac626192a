// The events of a run, and those of the cluster that happened while it ran.
import { computed, signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { json } from './api'
import { gapText, kindOf, tookOver } from './events'
import { clock, count, seconds } from './format'
import { Shape } from './icons'
import { Blank, Command, cli } from './parts'
import { withQuery } from './route'
import { runPath } from './run'
import { events, final, missed, putEvents, ref } from './store'
import type { Takeover } from './timeline'
import type { EventList, RunSummary } from './types'

const deleted = signal(false)

const most = 1000

export const takeovers = computed<(Takeover & { previous?: string })[]>(() =>
  (events.value ?? [])
    .filter((e) => e.name === 'leader.changed')
    .map((e) => ({ at: seconds(e.time), text: [tookOver(e), gapText(e)].filter(Boolean).join(', '), previous: e.data?.previous })),
)

// useRunEvents asks for what happened to a run, and to the cluster's nodes. What happens
// then comes with the stream.
function useRunEvents(r: RunSummary) {
  useEffect(() => {
    const stop = new AbortController()
    const ask = (query: string) => json<EventList>('/api/v1/events?' + query, { signal: stop.signal })
    const read = async () => {
      const own = await ask(`run=${r.id}&limit=${most}`)
      const around = await ask('type=leader&type=node&limit=200')
      deleted.value = own.events[0]?.name !== 'run.queued'
      putEvents([...own.events, ...around.events])
    }
    const again = async () => {
      for (let failures = 0; !stop.signal.aborted; ) {
        try {
          return await read()
        } catch {
          await new Promise((done) => setTimeout(done, Math.min(5000, 200 * 2 ** failures++)))
        }
      }
    }
    again()
    return () => stop.abort()
  }, [r.id, final(r.state), missed.value])
}

// TakeoverNotice says which node leads, and since when, if another one led when the run
// began. It asks for the events of the run, which other views show too.
export function TakeoverNotice({ r }: { r: RunSummary }) {
  useRunEvents(r)
  const last = events.value?.findLast((e) => e.name === 'leader.changed' && e.data?.previous)
  if (!last || final(r.state)) return null
  return (
    <p class="notice s-odd">
      <b>{tookOver(last)}</b>
      <span>{`at ${clock(last.time)}: ${last.text}`}</span>
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
