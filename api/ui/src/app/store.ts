// What the cluster said, as signals: one for each run and module, so that a
// change redraws what shows it and nothing else.
import { batch, computed, signal, type Signal } from '@preact/signals'
import type { Event, Health, MemberList, Module, RaftInfo, RunSummary, Who } from './types'
import { seconds } from './format'

export const who = signal<Who | null>(null)
const rank = { read: 1, submit: 2, admin: 3, worker: 0 }
export const may = (role: 'read' | 'submit' | 'admin') => (who.value ? rank[who.value.role] >= rank[role] : false)

// skew is by how much the nodes' clocks are ahead of this machine's, in seconds.
let skew = 0
export const now = signal(Date.now() / 1000)
const tick = () => (now.value = Date.now() / 1000 + skew)
setInterval(() => document.hidden || tick(), 1000)
addEventListener('visibilitychange', tick)

// The list.
export const runs = new Map<string, Signal<RunSummary>>()
export const order = signal<string[]>([])
export const listed = signal(false)

export const final = (state: string) => state === 'succeeded' || state === 'succeeded_with_warnings' || state === 'failed' || state === 'cancelled'

export function putRuns(list: RunSummary[], reset: boolean, removed: string[] = []) {
  batch(() => {
    if (reset) {
      const stay = new Set(list.map((r) => r.id))
      for (const id of runs.keys()) if (!stay.has(id)) runs.delete(id)
    }
    for (const id of removed) runs.delete(id)
    for (const r of list) {
      const had = runs.get(r.id)
      if (!had) runs.set(r.id, signal(r))
      else if (JSON.stringify(had.peek()) !== JSON.stringify(r)) had.value = r
    }
    const ids = [...runs.keys()].sort((a, b) => runs.get(b)!.peek().number - runs.get(a)!.peek().number)
    if (ids.join() !== order.peek().join()) order.value = ids
    listed.value = true
  })
}

export function took(r: RunSummary): number {
  const end = r.finishedAt ? seconds(r.finishedAt) : now.value
  return Math.max(0, end - seconds(r.submittedAt) - (r.idleSeconds ?? 0))
}

// ref names a run in addresses and commands.
export const ref = (r: RunSummary) => String(r.number)

// The run that is looked at.
export const run = signal<RunSummary | null>(null)
export const modules = new Map<string, Signal<Module>>()
export const moduleOrder = signal<string[]>([])
export const changed = signal(0) // counts changes of any module
// waiting says why modules that could start do not; '' is for those without a reason of their own.
export const waiting = signal<Record<string, string>>({})

// variables are those of the run by name; null is the value of a sensitive one.
export const variables = signal<[string, string | null][]>([])
// events are those of the run, and of the nodes while it went, in their order; null if
// they have not been asked for. missed counts how often there may be more than came.
export const events = signal<Event[] | null>(null)
export const missed = signal(0)

// putEvents adds those of some events that are of the run.
export function putEvents(list: Event[]) {
  const r = run.peek()
  if (!r) return
  const known = new Set((events.peek() ?? []).map((e) => e.id))
  const [from, to] = [seconds(r.submittedAt) - 1, final(r.state) ? seconds(r.finishedAt) + 1 : Infinity]
  const ofRun = (e: Event) => e.run === r.id || (!e.run && /^(?:leader|node)\./.test(e.name) && seconds(e.time) >= from && seconds(e.time) <= to)
  const more = list.filter((e) => !known.has(e.id) && ofRun(e))
  if (more.length > 0 || !events.peek()) events.value = [...(events.peek() ?? []), ...more].sort((a, b) => a.index - b.index || (a.id < b.id ? -1 : 1))
}

export function clearRun() {
  batch(() => {
    run.value = null
    events.value = null
    variables.value = []
    modules.clear()
    moduleOrder.value = []
    waiting.value = {}
  })
}

export function putRun(summary: RunSummary, list: Module[], reset: boolean, why?: Record<string, string>) {
  batch(() => {
    if (why) waiting.value = reset ? why : { ...waiting.peek(), ...why }
    if (reset) {
      const stay = new Set(list.map((m) => m.name))
      for (const name of modules.keys()) if (!stay.has(name)) modules.delete(name)
    }
    let added = reset
    for (const m of list) {
      const had = modules.get(m.name)
      if (!had) {
        modules.set(m.name, signal(m))
        added = true
      } else {
        had.value = { ...had.peek(), ...m }
      }
    }
    if (added) moduleOrder.value = [...modules.keys()]
    if (list.length > 0) changed.value++
    run.value = summary
  })
}

// The cluster.
export const health = signal<Health | null>(null)
export const members = signal<MemberList | null>(null)
export const raft = signal<RaftInfo | null>(null)

export function putCluster(h: Health, m: MemberList, r: RaftInfo | null) {
  batch(() => {
    skew = seconds(h.timestamp) - Date.now() / 1000
    if (Math.abs(skew) < 1) skew = 0
    health.value = h
    members.value = m
    if (r) raft.value = r
  })
}

export const alive = computed(() => members.value?.members.filter((m) => m.status === 'alive').length ?? 0)
