// Keeps the store current by one stream of what the page shows, at whichever node
// answers. It continues at the next node with the index that it has.
import { effect, signal, untracked } from '@preact/signals'
import { Refused, ask, events, leave, nodes, seen, whileSeen } from './api'
import * as store from './store'
import type { Event, Health, MemberList, Module, RaftInfo, RunSummary } from './types'

// watched is the run that the page shows; '' for none.
export const watched = signal('')
// missing says why the watched run cannot be shown.
export const missing = signal('')

// silence is how long the stream may say nothing, in ms: a node sends a comment
// each second.
const silence = 2500

// glance is the time between two looks of a page that is not seen, in ms: its title and
// its symbol say how a run stands.
const glance = 5000

interface Runs { reset?: boolean; runs: RunSummary[]; removed?: string[] }
interface Run { reset?: boolean; run: RunSummary; variables?: Record<string, string>; sensitive?: string[]; modules: Module[]; waiting?: Record<string, string>; gone?: boolean }
interface Happened { reset?: boolean; events: Event[] }
interface Cluster { health: Health; members: MemberList; raft: RaftInfo }

export function start(): () => void {
  const stop = new AbortController()
  let reading = new AbortController()
  stop.signal.addEventListener('abort', () => reading.abort())

  // Another run is another stream: what is new on it is not told from an index on. Only
  // another run is: a call that is made here reads which node to ask, and to begin anew
  // whenever that changes would empty the page.
  const unwatch = effect(() => {
    const id = watched.value
    untracked(() => {
      reading.abort()
      store.clearRun()
      missing.value = ''
      if (stop.signal.aborted) return
      reading = new AbortController()
      read(id, reading.signal)
    })
  })

  return () => {
    stop.abort()
    unwatch()
  }
}

// read follows the topics of a page until it is stopped. While the page is hidden, it
// takes what has changed and closes the stream, again and again.
async function read(id: string, stop: AbortSignal) {
  let since = ''
  let failures = 0
  while (!stop.aborted) {
    // What happens is asked for of a run that has not ended, and from an index on: what was
    // before is asked for once.
    const happens = since !== '' && goes()
    const topics = ['runs', 'cluster', ...(id && !missing.peek() ? ['run:' + id] : []), ...(happens ? ['events'] : [])]
    const query = topics.map((t) => 'topic=' + encodeURIComponent(t)).join('&') + (since && '&since=' + since)
    let origin = nodes.peek()[0]
    const glances = document.hidden
    const looked = glances ? stop : whileSeen(stop)
    let closed = false
    let wait = 0
    try {
      const answer = await ask('/api/v1/stream?' + query, { signal: looked })
      origin = new URL(answer.url).origin
      store.waiting.value = {} // all reasons that there are come now
      for await (const e of events(answer, silence)) {
        if (stop.aborted) return
        if (e.event === 'bye' || e.event === 'error') break
        take(e.event, JSON.parse(e.data))
        since = e.id || since
        failures = 0
        closed = (glances || (!happens && goes())) && e.event === 'cluster' // the last of what has changed
        if (closed) break
      }
    } catch (e) {
      if (stop.aborted) return
      closed = looked.aborted
      if (!closed && e instanceof Refused && e.status < 500) {
        if (id && !missing.peek()) missing.value = e.message
        else wait = 5000
      }
    }
    if (stop.aborted) return
    if (closed) {
      if (document.hidden) await seen(glance)
      continue
    }
    if (!missing.peek()) leave(origin, true)
    if (failures++ > 0) wait = Math.max(wait, Math.min(5000, 100 * 2 ** failures))
    if (wait) await new Promise((r) => setTimeout(r, wait))
  }
}

// goes reports whether the page shows a run that has not ended.
function goes(): boolean {
  const r = store.run.peek()
  return !!r && !store.final(r.state)
}

function take(kind: string, data: unknown) {
  if (kind === 'runs') {
    const d = data as Runs
    store.putRuns(d.runs, !!d.reset, d.removed)
  } else if (kind === 'run') {
    const d = data as Run
    if (d.gone) missing.value = 'The run is no longer kept.'
    else {
      if (d.reset) store.variables.value = [...Object.entries(d.variables ?? {}), ...(d.sensitive ?? []).map((name): [string, null] => [name, null])].sort(([a], [b]) => (a < b ? -1 : 1))
      store.putRun(d.run, d.modules ?? [], !!d.reset, d.waiting)
    }
  } else if (kind === 'events') {
    const d = data as Happened
    store.putEvents(d.events)
    if (d.reset) store.missed.value++
  } else if (kind === 'cluster') {
    const d = data as Cluster
    store.putCluster(d.health, d.members, d.raft)
  }
}
