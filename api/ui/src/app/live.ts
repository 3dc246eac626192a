// Keeps the store current: asks for what the page shows, at whichever node
// answers, and no more often than four times a second.
import { effect, signal } from '@preact/signals'
import { Refused, json } from './api'
import * as store from './store'
import type { Health, MemberList, RaftInfo, Run, RunSummary } from './types'

// watched is the run that the page shows; '' for none.
export const watched = signal('')
// missing says why the watched run cannot be shown.
export const missing = signal('')

const pause = (ms: number, stop: AbortSignal) =>
  new Promise<void>((resolve) => {
    const t = setTimeout(resolve, ms)
    stop.addEventListener('abort', () => (clearTimeout(t), resolve()), { once: true })
  })

// loop repeats a step until it is stopped, and waits longer from failure to
// failure. The step gives how long to wait before the next one, in ms.
async function loop(stop: AbortSignal, step: () => Promise<number>) {
  let failures = 0
  while (!stop.aborted) {
    let wait: number
    try {
      wait = await step()
      failures = 0
    } catch (e) {
      if (stop.aborted) return
      failures++
      wait = Math.min(5000, 100 * 2 ** failures)
      if (e instanceof Refused && e.status < 500) wait = 5000
    }
    await pause(document.hidden ? Math.max(wait, 5000) : wait, stop)
  }
}

export function start(): () => void {
  const stop = new AbortController()
  const s = stop.signal

  loop(s, async () => {
    const [health, members, raft] = await Promise.all([
      json<Health>('/api/health', { signal: s }),
      json<MemberList>('/api/v1/members', { signal: s }),
      json<RaftInfo>('/api/v1/raft', { signal: s }),
    ])
    store.putCluster(health, members, raft)
    return 2000
  })

  loop(s, async () => {
    const { runs } = await json<{ runs: RunSummary[] }>('/api/v1/runs?limit=100', { signal: s })
    store.putRuns(runs, true)
    return 1500
  })

  let leaveRun = () => {}
  const unwatch = effect(() => {
    const id = watched.value
    leaveRun()
    leaveRun = () => {}
    store.clearRun()
    missing.value = ''
    if (id) leaveRun = follow(id)
  })
  s.addEventListener('abort', () => (leaveRun(), unwatch()))

  return () => stop.abort()
}

// follow keeps one run current until it is told to stop.
function follow(id: string): () => void {
  const stop = new AbortController()
  const s = stop.signal
  const path = '/api/v1/runs/' + encodeURIComponent(id)
  let index = 0

  loop(s, async () => {
    try {
      const query = index ? `?index=${index}&since=${index}&wait=20s` : ''
      const { modules, index: at, ...summary } = await json<Run>(path + query, { signal: s, wait: index ? 20000 : 0 })
      if (s.aborted) return 0
      store.putRun(summary, modules, index === 0)
      index = at
      return 250
    } catch (e) {
      if (e instanceof Refused && e.status >= 400 && e.status < 500) missing.value = e.message
      throw e
    }
  })

  return () => stop.abort()
}
